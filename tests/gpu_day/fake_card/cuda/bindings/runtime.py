"""`cuda.bindings.runtime` on a fake card: one per process."""

from tests.support.gpu import FakeGpu

GPU = FakeGpu()
globals().update(vars(GPU.api))
