"""What each operation means.  Read `numerics` first, then `tensor`, `norm`, `rope`, `attention`."""
