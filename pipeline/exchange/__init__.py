"""Networks from and to other software: ONNX, NIR, the bare graph; SpikingJelly and snnTorch."""


class ExchangeError(ValueError):
    """A network or file that cannot be taken over or written: one line naming what it is about."""
