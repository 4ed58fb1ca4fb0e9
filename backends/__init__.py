"""Fast implementations that must match `refimpl`; each is judged by the reference, never trusted."""
