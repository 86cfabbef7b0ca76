"""What a foreign ONNX file says about itself: its maker's metadata, and its first nodes."""

from __future__ import annotations

import ast
from dataclasses import dataclass

import onnx

from edge.errors import ModelError

MAX_NAMES_CHARS = 1 << 20
SHOWN_CHARS = 40
FIRST_NODES = 8  # insightface looks for a normalization among these
TASKS = {  # of ultralytics, other than detect
    "pose": "keypoints", "obb": "oriented boxes", "segment": "masks", "classify": "no boxes",
    "semantic": "masks", "depth": "distances",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Claims:
    """What a file says about itself; empty where it says nothing.

    Attributes:
        maker: ``ultralytics``, or empty.
        task: Its maker's word for what it does.
        head: Its maker's name of the last layer.
        names: Class names by id.
        unread_names: The beginning of what stands for names and cannot be read as such.
        normalizes: Whether a Sub and a Mul stand among its first nodes, so that it takes 0..255.
    """

    maker: str
    task: str
    head: str
    names: tuple[str, ...]
    unread_names: str
    normalizes: bool

    def describe_names(self) -> str:
        """Why its names are not taken; empty where they are, or where there are none."""
        if not self.unread_names:
            return ""
        return (
            f"the names in the file's metadata cannot be read ({self.unread_names!r}; expected "
            "{0: 'person', 1: 'car'} or a list of words)"
        )

    def refuse_other_tasks(self, family: str) -> None:
        """Check that the file is what ``family`` adopts.

        Raises:
            ModelError: Its maker says that it does something else.
        """
        if self.task and self.task != "detect":
            gives = TASKS.get(self.task, "something else")
            raise ModelError(
                f"the file's metadata says that it is a {self.task} network, which gives {gives}: "
                "export a detect network"
            )
        if family == "yolo" and "rtdetr" in self.head.lower():
            raise ModelError(
                "the file's metadata says that it is an RT-DETR: adopt it with --family rtdetr"
            )


def read_claims(proto: onnx.ModelProto) -> Claims:
    """Read what a file says about itself."""
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    words = f"{metadata.get('author', '')} {metadata.get('description', '')}".lower()
    head = metadata.get("head", "") or ("rtdetr" if "rtdetr" in words else "")
    maker = "ultralytics" if "ultralytics" in words else ""
    text = metadata.get("names", "")
    names = _read_names(text)
    unread = "" if names else text[:SHOWN_CHARS]
    return Claims(maker, metadata.get("task", ""), head, names, unread, _normalizes(proto))


def _read_names(text: str) -> tuple[str, ...]:
    """Ultralytics writes a dictionary as Python shows it, others a list."""
    if not text or len(text) > MAX_NAMES_CHARS:
        return ()
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if isinstance(value, dict) and list(value) == list(range(len(value))):
        value = list(value.values())
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return ()
    return tuple(value)


def _normalizes(proto: onnx.ModelProto) -> bool:
    """The rule of insightface's ArcFaceONNX, also for files whose nodes have no names."""
    first = proto.graph.node[:FIRST_NODES]
    subtracts = any(n.op_type == "Sub" or n.name.startswith(("Sub", "_minus")) for n in first)
    scales = any(n.op_type in ("Mul", "Div") or n.name.startswith(("Mul", "_mul")) for n in first)
    return subtracts and scales
