"""What a plan wants to know of a graph: what spikes feed, what is computed together, which cells are its."""

from spikeline.models.graph import Graph, Node
from spikeline.pipeline.engines.sparse.attention import attended
from spikeline.pipeline.engines.sparse.cells import Cell, cell

LARGEST_VALUE = 8  # of an addition of spikes that is still kept as spikes


class Reading:
    """absorbed: nodes that are computed with the one behind them"""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes = {node.name: node for node in graph.nodes}
        self.users: dict[str, list[str]] = {name: [] for name in self.nodes}
        for node in graph.nodes:
            for name in node.inputs:
                self.users[name].append(node.name)
        self.cells = {node.name: cell(kind) for node, kind in graph.neurons}
        self.absorbed = self._absorb()

    def unseen(self, node: Node) -> bool:
        """The input, where nothing but first layers that take counts look at it."""
        users = [self.nodes[name] for name in self.users[node.name]]
        return node.op == "input" and all(self.counts_fed(user) for user in users)

    def plain(self, node: Node) -> Cell | None:
        """The numbers of a layer of neurons that needs nothing but its own membrane."""
        attended = node.attrs.get("recall") or node.attrs.get("refine")
        if node.op != "neuron" or attended or node.attrs.get("output", "spikes") != "spikes":
            return None
        return self.cells[node.name]

    def takes_weights(self, node: Node) -> bool:
        """Whether a layer of neurons takes in the weights in front of it itself."""
        return self.plain(node) is not None or self.swept(node) is not None

    def swept(self, node: Node) -> Cell | None:
        """The numbers of a layer of neurons whose attention on its membrane kernels know."""
        if node.op != "neuron" or node.attrs.get("output", "spikes") != "spikes":
            return None
        return self.cells[node.name] if attended(node, self.graph) else None

    def only_user(self, name: str) -> Node | None:
        users = self.users[name]
        return self.nodes[users[0]] if len(users) == 1 else None

    def _absorb(self) -> set[str]:
        """Nodes that are computed with the one behind them."""
        found: set[str] = set()
        for node in self.graph.nodes:
            after = self.only_user(node.name)
            if after is None:
                continue
            if node.op in ("conv", "linear") and self.sparse_fed(node):
                if self.averages(after) and node.op == "conv":
                    found.add(node.name)
                    node, after = after, self.only_user(after.name)
                if after is not None and self.takes_weights(after):
                    found.add(node.name)
        return found

    def averages(self, node: Node) -> bool:
        return node.op == "pool" and node.attrs["kind"] == "avg"

    def counts_fed(self, node: Node) -> bool:
        return node.op == "conv" and self.nodes[node.inputs[0]].op == "input"

    def sparse_fed(self, node: Node) -> bool:
        """Whether a layer of weights is fed by spikes, or by counts."""
        return self.counts_fed(node) or self.spikes_of(node.inputs[0]) > 0

    def spikes_of(self, name: str) -> int:
        """The largest value of a node whose spikes are kept as such; 0: of another."""
        node = self.nodes[name]
        if name not in self.graph.spiking:
            return 0
        if node.op == "neuron":
            return 1
        values = [self.spikes_of(source) for source in node.inputs]
        if node.op == "pool":
            return values[0] if values[0] == 1 else 0
        if 0 in values:
            return 0
        if node.attrs["kind"] == "add":
            return sum(values) if sum(values) <= LARGEST_VALUE else 0
        return 1 if max(values) == 1 else 0
