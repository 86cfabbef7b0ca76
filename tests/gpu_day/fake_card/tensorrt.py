"""`tensorrt` on a fake card, for processes that have this folder on their path."""

import sys

from cuda.bindings.runtime import GPU

from tests.support.fake_tensorrt import fake_library

sys.modules[__name__] = fake_library(GPU, "10.16.1").module
