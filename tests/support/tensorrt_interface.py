"""Interfaces of TensorRT's versions: recorded from their bindings, and modules made of the records.

``tensorrt_interfaces/`` holds a record of each version that is tested: names, numbers of enums,
arguments and types, as the bindings themselves state them. Only what Edgewatch could call is in
there; of networks, which are parsed, not what adds layers.

A record is written where the version can be imported::

    cd tests/support && python tensorrt_interface.py tensorrt > tensorrt_interfaces/11.4.0.json

The wheel ``tensorrt-cu12-bindings`` of a version is enough: its module ``tensorrt_bindings`` is
imported once the dynamic linker finds empty libraries in place of libnvinfer, libnvinfer_plugin and
libnvonnxparser, with the nine C functions that ``nm -D`` lists, each returning null.

The records agree with NVIDIA's documentation (docs.nvidia.com/deeplearning/tensorrt/VERSION):
"Python API" of 10.16.1 and 11.4.0, "Removed Python APIs and Replacements" of the guide "Migrating
from TensorRT 10.x to 11.x", and with the source of the bindings (github.com/NVIDIA/TensorRT,
python/src/infer). One difference: the guide counts ``BuilderFlag.DIRECT_IO`` among the removed,
the bindings of 11.0 to 11.4 still have it.

Inferred, not recorded: JetPack's 10.3 has the interface of the wheel 10.3.0; ``IHostMemory`` has
the buffer protocol (from the source), for which ``__bytes__`` stands here.
"""

import enum
import importlib
import json
import re
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

FOLDER = Path(__file__).with_name("tensorrt_interfaces")
TENSORRT = ("10.3.0", "10.16.1", "11.0.0", "11.4.0")
RTX = "rtx-1.7.1"

ENUMS = (
    "BuilderFlag",
    "ComputeCapability",
    "DataType",
    "DynamicShapesKernelSpecializationStrategy",
    "ErrorCode",
    "ExecutionContextAllocationStrategy",
    "HardwareCompatibilityLevel",
    "ILogger.Severity",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParserFlag",
    "ProfilingVerbosity",
    "TensorIOMode",
)
CLASSES = (
    "Builder",
    "Dims",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "IRuntimeCache",
    "IRuntimeConfig",
    "ITensor",
    "ITimingCache",
    "OnnxParser",
    "ParserError",
    "Runtime",
)


# --- records -----------------------------------------------------------------------------------


def record(module):
    """The interface of a module: enums as name -> number, classes as name -> what they have."""
    enums, classes = {}, {}
    for name in ENUMS:
        found = _find(module, name)
        if found is not None:
            enums[name] = {key: int(value) for key, value in found.__members__.items()}
    for name in CLASSES:
        found = _find(module, name)
        if found is not None:
            classes[name] = _record_class(found)
    return {"version": module.__version__, "enums": enums, "classes": classes}


def load(version):
    """The record of a version."""
    return json.loads((FOLDER / f"{version}.json").read_text())


def _find(module, name):
    for part in name.split("."):
        module = getattr(module, part, None)
    return module


def _record_class(cls):
    methods, properties = {}, {}
    for name, value in sorted(vars(cls).items()):
        adds_layers = cls.__name__ == "INetworkDefinition" and name.startswith("add_")
        if adds_layers or (name.startswith("_") and name != "__init__"):
            continue
        doc = getattr(value, "__doc__", "") or ""
        if isinstance(value, property):
            returns = re.findall(r"\(.*\) -> (.*)", value.fget.__doc__ or "")
            properties[name] = [_plain(returns[0]) if returns else "object", bool(value.fset)]
        elif signatures := re.findall(rf"^(?:\d+\. )?{name}\((self.*)\) -> (.*)$", doc, re.M):
            methods[name] = [_signature(*signature) for signature in signatures]
    return {"methods": methods, "properties": properties}


def _signature(arguments, returns):
    arguments = re.sub(r"^self[^,]*(, )?", "", _plain(arguments))
    return f"({arguments}) -> {_plain(returns)}"


def _plain(text):
    """Types as all versions of pybind11 could have written them."""
    for old, new in (
        (r"<\w+\.(\w+): \d+>", r"\1"),
        (r"nvonnxparser::IParserError", "ParserError"),
        (r"\b\w+_bindings\.\w+\.|\btensorrt\.tensorrt\.|\b\w+::", ""),
        (r"typing\.Supports(Int|Float)", lambda match: match[1].lower()),
        (r"typing_extensions\.Buffer", "buffer"),
        (r"(collections\.abc|typing|typing_extensions)\.", ""),
        (r"\b(List|Tuple)\[", lambda match: match[0].lower()),
    ):
        text = re.sub(old, new, text)
    return text


# --- modules -----------------------------------------------------------------------------------


def make_module(recorded, parts):
    """A module of the recorded interface.

    What is not recorded is not there, and calls with other arguments are refused, as the bindings
    do. What calls do is up to the parts: ``parts.Builder(logger)`` returns an object that has the
    methods and properties of a Builder, or None, which the bindings make a TypeError of. Parts
    are given parts, and give parts, plain numbers, sequences, or names of an enum's members.
    """
    module = ModuleType("tensorrt")
    module.__version__ = recorded["version"]
    for name, members in recorded["enums"].items():
        owner, _, short = name.rpartition(".")
        if not owner:
            setattr(module, short, _Enum(short, members))
    for name, found in recorded["classes"].items():
        setattr(module, name, _make_class(module, name, found, getattr(parts, name, None)))
    module.ILogger.Severity = _Severity("Severity", recorded["enums"]["ILogger.Severity"])
    for name, severity in module.ILogger.Severity.__members__.items():
        setattr(module.ILogger, name, severity)
    module.nptype = partial(_nptype, module)
    return module


class _Enum(enum.Enum):
    def __int__(self):
        return self.value


class _Severity(_Enum):
    def __le__(self, other):
        if type(other) is not type(self):
            raise TypeError("Expected an enumeration of matching type!")
        return self.value <= other.value


class _Dims:
    """Recorded by hand: a sequence of numbers."""

    def __init__(self, shape=()):
        self._shape = tuple(shape)

    def __len__(self):
        return len(self._shape)

    def __getitem__(self, number):
        return self._shape[number]


class _Type(type):
    """As pybind11 has it: whoever overrides ``__init__`` calls that of the base."""

    def __call__(cls, *arguments, **named):
        made = super().__call__(*arguments, **named)
        if not hasattr(made, "_part"):
            raise TypeError(f"{cls.__name__}.__init__() must be called when overriding __init__")
        return made


def _make_class(module, name, recorded, part):
    if name == "Dims":
        return _Dims
    methods = dict(recorded["methods"])
    namespace = {"__slots__": ("_part",), "__init__": _constructor(module, methods, name, part)}
    methods.pop("__init__", None)
    for method, overloads in methods.items():
        namespace[method] = _method(module, method, overloads)
    for attribute, (kind, writable) in recorded["properties"].items():
        namespace[attribute] = _property(module, attribute, kind, writable)
    if name == "IHostMemory":
        namespace["__bytes__"] = lambda self: bytes(self._part)
    return _Type(name, (), namespace)


def _constructor(module, methods, name, part):
    overloads = methods.get("__init__")

    def construct(self, *arguments, **named):
        if overloads is None:
            raise TypeError(f"{name}: No constructor defined!")
        values, _ = _match(module, "__init__", overloads, arguments, named)
        self._part = part(*values) if part else NotImplemented  # for what Python overrides
        if self._part is None:
            raise TypeError("pybind11::init(): factory function returned nullptr")

    return construct


def _method(module, name, overloads):
    def call(self, *arguments, **named):
        values, returns = _match(module, name, overloads, arguments, named)
        return _wrap(module, returns, _of_part(self, name)(*values))

    return call


def _property(module, name, kind, writable):
    def get(self):
        return _wrap(module, kind, _of_part(self, name))

    def put(self, value):
        if not _accepts(module, kind, value):
            raise TypeError(f"{name}: incompatible function arguments: {value!r} is no {kind}")
        setattr(self._part, name, _unwrap(value))

    return property(get, put if writable else None)


def _of_part(self, name):
    try:
        return getattr(self._part, name)
    except AttributeError:
        raise NotImplementedError(f"{type(self).__name__}.{name} does nothing here") from None


def _match(module, name, overloads, arguments, named):
    """The values of the first overload that takes the arguments, and the type it returns."""
    for overload in overloads:
        inside, returns = re.fullmatch(r"\((.*)\) -> (.*)", overload).groups()
        values = _bind(module, _split(inside), arguments, named)
        if values is not None:
            return values, returns
    lines = "".join(f"\n    {number}. {text}" for number, text in enumerate(overloads, 1))
    raise TypeError(
        f"{name}(): incompatible function arguments. The following argument types are supported:"
        f"{lines}\n\nInvoked with: {arguments} {named}"
    )


def _split(inside):
    return re.split(r", (?=\w+: )", inside) if inside else []


def _bind(module, parameters, arguments, named):
    values, left = [], dict(named)
    if len(arguments) > len(parameters):
        return None
    for number, parameter in enumerate(parameters):
        name, kind, default = re.fullmatch(r"(\w+): (.*?)(?: = (.*))?", parameter).groups()
        if number < len(arguments):
            value = arguments[number]
        elif name in left:
            value = left.pop(name)
        elif default is not None:
            break
        else:
            return None
        if not (_accepts(module, kind, value) or (value is None and default == "None")):
            return None
        values.append(_unwrap(value))
    return None if left else values


PLAIN = {"int": int, "float": (int, float), "str": str, "bool": bool, "tuple": tuple, "list": list}


def _accepts(module, kind, value):
    if kind in PLAIN:
        return isinstance(value, PLAIN[kind])
    if kind == "buffer":
        return isinstance(value, bytes | bytearray | memoryview)
    if kind == "Dims":
        return isinstance(value, _Dims | tuple | list) and all(isinstance(n, int) for n in value)
    if kind == "ILogger.Severity":
        return isinstance(value, _Severity)
    known = getattr(module, kind, None)
    return isinstance(value, known) if isinstance(known, type) else True


def _unwrap(value):
    part = getattr(value, "_part", NotImplemented)
    return value if part is NotImplemented else part


def _wrap(module, kind, value):
    if inner := re.fullmatch(r"list\[(.*)\]", kind):
        return [_wrap(module, inner[1], item) for item in value]
    known = getattr(module, kind, None)
    if value is None or not isinstance(known, type) or isinstance(value, known):
        return value
    if issubclass(known, enum.Enum):
        return known[value]
    if known is _Dims:
        return _Dims(value)
    made = known.__new__(known)
    made._part = value
    return made


NUMPY = {
    "FLOAT": np.float32, "HALF": np.float16, "INT8": np.int8, "INT32": np.int32,
    "INT64": np.int64, "BOOL": np.bool_, "UINT8": np.uint8,
}  # fmt: skip


def _nptype(module, trt_type):
    if not isinstance(trt_type, module.DataType) or trt_type.name not in NUMPY:
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return NUMPY[trt_type.name]


if __name__ == "__main__":
    json.dump(record(importlib.import_module(sys.argv[1])), sys.stdout, indent=1)
    sys.stdout.write("\n")
