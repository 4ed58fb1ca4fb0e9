"""Each kind of file that a tokenizer comes in, read into the same `Vocabulary`."""
