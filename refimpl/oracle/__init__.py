"""What other engines are judged by.  `models` makes small random models of every family."""
