"""A layer's convolution in ONNX Runtime, for steps at which so many neurons fire that adding up is dearer.

Its sums run in another order than those of spikes: a membrane may differ in its last bits.
"""

from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from spikeline.pipeline.engines.onnx_builder import IR_VERSION, OPSET
from spikeline.pipeline.engines.sparse.geometry import Convolution


class DenseConv:
    """x (1, C, H, W) float32 -> (Co, Ho Wo), on one thread, in arrays of its own."""

    def __init__(self, convolution: Convolution, weights: NDArray[Any]) -> None:
        """weights: the kernel as it is to be, (O, I, k, k). Of whole numbers sums are exact up to 2^24."""
        kernel = weights.astype(np.float32)
        (C, H, W), (Co, Ho, Wo) = convolution.before, convolution.after
        k, s, p = kernel.shape[-1], convolution.stride, convolution.padding
        ends = [max(0, (o - 1) * s + k - n - p) for o, n in ((Ho, H), (Wo, W))]
        Hy, Wy = ((n + p + end - k) // s + 1 for n, end in ((H, ends[0]), (W, ends[1])))
        node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[s, s], pads=[p, p, *ends])
        info = helper.make_tensor_value_info
        inputs = [info("x", TensorProto.FLOAT, [1, C, H, W])]
        outputs = [info("y", TensorProto.FLOAT, [1, Co, Hy, Wy])]
        graph = helper.make_graph([node], "layer", inputs, outputs, [numpy_helper.from_array(kernel, "w")])
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.x = np.zeros((1, C, H, W), np.float32)
        self.y = np.zeros((1, Co, Hy, Wy), np.float32)
        self._after = Ho, Wo
        self._binding = self._session.io_binding()
        _bind(self._binding.bind_input, "x", self.x)
        _bind(self._binding.bind_output, "y", self.y)
        self.macs = kernel[0].size * self.y.size
        self.values = self.x.size + self.y.size

    def run(self) -> NDArray[np.float32]:
        """From `x`; (Co, Ho Wo), valid until the next run. What a pool leaves over is cut off."""
        self._session.run_with_iobinding(self._binding)
        Ho, Wo = self._after
        return self.y[0, :, :Ho, :Wo].reshape(self.y.shape[1], -1)


def _bind(bind: Any, name: str, array: NDArray[Any]) -> None:
    bind(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
