"""The lowered graph by itself: a `.safetensors` file of its tensors with the document as metadata."""

from pathlib import Path

import msgspec
import safetensors
import safetensors.numpy

from spikeline.models.graph import Graph, GraphDocument, GraphError
from spikeline.pipeline.exchange import ExchangeError

KEY = "spikeline.graph"


def write_graph(path: Path, graph: Graph) -> None:
    document = msgspec.json.encode(graph.document).decode()
    path.write_bytes(safetensors.numpy.save(dict(graph.tensors), metadata={KEY: document}))


def read_graph(path: Path) -> Graph:
    """Raises ExchangeError, one line."""
    try:
        with safetensors.safe_open(path, "np") as file:
            document = (file.metadata() or {}).get(KEY)
            if document is None:
                raise ExchangeError(f"{path}: its metadata has no {KEY}; wanted a file of spikeline export")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        return Graph(msgspec.json.decode(document, type=GraphDocument), tensors)
    except (OSError, safetensors.SafetensorError, msgspec.MsgspecError, GraphError) as error:
        raise ExchangeError(f"{path}: {' '.join(str(error).split())}") from error
