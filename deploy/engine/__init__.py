"""TensorRT engines: build requests and the process that builds them."""
