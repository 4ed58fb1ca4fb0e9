"""The sixteen steps of IQ4_NL and IQ4_XS (kvalues_iq4nl in ggml-common.h)."""

import numpy as np

VALUES = np.array(
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], dtype=np.int8
)
