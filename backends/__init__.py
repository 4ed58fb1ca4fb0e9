"""Fast implementations that must match `refimpl`: judged by the reference, never trusted."""
