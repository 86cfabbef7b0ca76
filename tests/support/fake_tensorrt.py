"""TensorRT on a fake card: behaviour behind the recorded interface of a version.

An engine is an ONNX file, with a line before it that holds what it was built with. Parts are the
objects that `tests.support.tensorrt_interface.make_module` asks for.
"""

import json
from contextlib import suppress
from types import SimpleNamespace

import onnx
from onnx import TensorProto

from deploy.engine import build as building
from edge import plugins
from edge.engines.cache import EngineCache, EngineKey, EngineTarget
from edge.engines.cuda import Cuda
from edge.engines.library import Library
from edge.errors import ModelError
from edge.runtimes.tensorrt import Options, TensorRtRuntime
from tests.support.gpu import FakeEngine, FakeGpu
from tests.support.tensorrt_interface import RTX, load, make_module

TYPES = {"uint8": "UINT8", "float32": "FLOAT", "float16": "HALF", "int64": "INT64"}


def fake_library(gpu, version, **behaviour):
    """The library of a version on a fake card; see `FakeTensorRt`."""
    recorded = load(version)
    module = make_module(recorded, FakeTensorRt(gpu, **behaviour))
    name = "tensorrt_rtx" if version == RTX else "tensorrt"
    return Library(name, recorded["version"], module)


class FakeTensorRt:
    """The parts of the module.

    Args:
        gpu: the card.
        complains: no plan can be deserialized, with these words in the log.
        fails: nothing can be created at all, with these words in the log.
        unbuildable: no network can be built, with these words in the log.
    """

    def __init__(self, gpu, complains="", fails="", unbuildable=""):
        self.gpu, self.complains = gpu, complains
        self.fails, self.unbuildable = fails, unbuildable

    def Runtime(self, logger):
        return None if self._failed(logger) else FakeRuntime(self, logger)

    def Builder(self, logger):
        return None if self._failed(logger) else FakeBuilder(self, logger)

    def OnnxParser(self, network, logger):
        return FakeParser(network)

    def _failed(self, logger):
        if self.fails:
            logger.log(logger.ERROR, self.fails)
        return bool(self.fails)


# --- building ----------------------------------------------------------------------------------


class FakeBuilder:
    def __init__(self, trt, logger):
        self.trt, self.logger = trt, logger

    def create_network(self, flags=0):
        return SimpleNamespace(flags=flags)

    def create_builder_config(self):
        return FakeConfig()

    def create_optimization_profile(self):
        return FakeProfile()

    def build_serialized_network(self, network, config):
        for step in range(2):
            if step == 0:
                config.progress_monitor.phase_start("Building", None, 2)
                config.progress_monitor.phase_start("Tactics", "Building", 1)
            config.progress_monitor.step_complete("Building", step)
        config.progress_monitor.phase_finish("Tactics")
        config.progress_monitor.phase_finish("Building")
        if self.trt.unbuildable:
            self.logger.log(self.logger.ERROR, self.trt.unbuildable)
            return None
        (profile,) = config.profiles
        built = {
            "network_flags": network.flags,
            "flags": sorted(config.on),
            "pools": config.pools,
            "capabilities": config.capabilities,
            "shapes": profile.shapes,
        }
        return json.dumps(built).encode() + b"\n" + network.model


class FakeConfig:
    def __init__(self):
        self.on = {"TF32"}  # as documented: on by default
        self.pools, self.profiles, self.capabilities = {}, [], {}

    def set_memory_pool_limit(self, pool, pool_size):
        self.pools[pool.name] = pool_size

    def set_flag(self, flag):
        self.on.add(flag.name)

    def clear_flag(self, flag):
        self.on.discard(flag.name)

    def add_optimization_profile(self, profile):
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_compute_capability(self, capability, number):
        self.capabilities[number] = capability.name
        return True


class FakeProfile:
    def __init__(self):
        self.shapes = {}

    def set_shape(self, name, *shapes):
        self.shapes[name] = [list(shape) for shape in shapes]


class FakeParser:
    """Knows every operator but those of other domains."""

    def __init__(self, network):
        self.network, self.errors = network, []

    @property
    def num_errors(self):
        return len(self.errors)

    def get_error(self, number):
        return self.errors[number]

    def parse(self, model):
        graph = onnx.load_model_from_string(model).graph
        for number, node in enumerate(graph.node):
            if node.domain:
                self.errors.append(FakeParserError(number, node.name, node.op_type))
        inputs = [value for value in graph.input if value.type.tensor_type.elem_type]
        self.network.model = model
        self.network.num_inputs = len(inputs)
        self.network.get_input = lambda number: FakeInput(inputs[number])
        return not self.errors


class FakeInput:
    def __init__(self, value):
        self.name = value.name
        self.shape = [n.dim_value or -1 for n in value.type.tensor_type.shape.dim]
        self.dtype = TensorProto.DataType.Name(value.type.tensor_type.elem_type)


class FakeParserError:
    def __init__(self, number, name, operator):
        self.node = lambda: number
        self.node_name = lambda: name
        self.node_operator = lambda: operator
        self.desc = lambda: "Plugin not found"
        self.code = lambda: "UNSUPPORTED_NODE"


# --- running -----------------------------------------------------------------------------------


class FakeRuntime:
    def __init__(self, trt, logger):
        self.trt, self.logger = trt, logger

    def deserialize_cuda_engine(self, plan):
        problem = self.trt.complains
        try:
            return None if problem else FakePlan(self.trt, plan)
        except Exception as error:  # noqa: BLE001 - TensorRT logs and gives nothing
            problem = str(error)
        finally:
            if problem:
                self.logger.log(self.logger.ERROR, problem)


class FakePlan:
    """An ICudaEngine."""

    def __init__(self, trt, plan):
        max_batch = 16
        if plan.startswith(b"{"):
            built, _, plan = plan.partition(b"\n")
            ((_, _, largest),) = json.loads(built)["shapes"].values()
            max_batch = largest[0]
        self.engine = FakeEngine(trt.gpu, plan, max_batch)
        self.tensors = {t.name: t for t in (*self.engine.outputs, self.engine.input)}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, number):
        return list(self.tensors)[number]

    def get_tensor_mode(self, name):
        return "INPUT" if name == self.engine.input.name else "OUTPUT"

    def get_tensor_dtype(self, name):
        return TYPES[str(self.tensors[name].dtype)]

    def get_tensor_shape(self, name):
        return (-1, *self.tensors[name].shape)

    def get_tensor_profile_shape(self, name, profile):
        return [(rows, *self.tensors[name].shape) for rows in (1, 8, self.engine.max_batch)]

    def create_runtime_config(self):
        return FakeRuntimeConfig()

    def create_execution_context(self, how=None):
        if isinstance(how, FakeRuntimeConfig):
            assert how.dynamic_shapes_kernel_specialization_strategy.name == "EAGER"
            how = how.strategy
        assert how.name == "USER_MANAGED"
        return FakeContext(self)


class FakeRuntimeConfig:
    def set_execution_context_allocation_strategy(self, strategy):
        self.strategy = strategy

    def create_runtime_cache(self):
        return object()

    def set_runtime_cache(self, cache):
        return True


class FakeContext:
    """An IExecutionContext."""

    def __init__(self, plan):
        self.plan, self.addresses = plan, {}

    def set_input_shape(self, name, shape):
        assert name == self.plan.engine.input.name
        if shape[0] > self.plan.engine.max_batch or shape[1:] != self.plan.engine.input.shape:
            return False
        self.execution = self.plan.engine.execution(shape[0])
        return True

    def update_device_memory_size_for_shapes(self):
        return self.execution.memory_bytes()

    def set_device_memory(self, memory, size_bytes):
        self.memory = memory, size_bytes

    def set_tensor_address(self, name, address):
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        self.execution.bind(self.addresses, *self.memory)
        return self.execution.enqueue(stream)

    def is_stream_capturable(self, stream):
        return True


# --- runtimes ----------------------------------------------------------------------------------


class BuildingRuntime:
    """The runtime `tensorrt` that has an engine of every model it is asked for.

    Args:
        runtime: it.
        build: puts a model's engine into its cache.
    """

    def __init__(self, runtime, build):
        self.runtime, self._build = runtime, build

    @property
    def workers(self):
        return self.runtime.workers

    def load(self, model, name):
        with suppress(ModelError):  # the runtime is to say so
            self._build(model, name)
        return self.runtime.load(model, name)


def runtime_of_functions(cache):
    """The runtime `tensorrt` on a fake card.

    Args:
        cache: folder of engines.
    """
    gpu = FakeGpu()
    library = fake_library(gpu, "10.16.1")
    options = Options(cache=str(cache))
    target = EngineTarget(library.name, library.version, "Fake 1000", ("sm86",))

    def build(model, name):
        EngineCache(cache).store(
            EngineKey.for_model(model, target, options.build_options), name, model, 1.0, 1.0
        )

    return BuildingRuntime(TensorRtRuntime(options, Cuda(gpu.api), library), build)


def runtime_of_this_box(cache):
    """The runtime `tensorrt` on the card of this box.

    Raises:
        ConfigError: there is none.
    """
    runtime = plugins.create(
        "runtimes", {"kind": "tensorrt", "fallback": "none", "cache": str(cache)}
    )

    def build(model, name):
        request = building.BuildRequest()
        building.build(model, name, request, EngineCache(cache), lambda what, share: None)

    return BuildingRuntime(runtime, build)
