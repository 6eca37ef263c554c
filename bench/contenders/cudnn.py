"""torch's `nn.LSTM/GRU` on a GPU, which is cuDNN: one run, and many in a row, on streams, and as captured graphs.

A graph replays a whole training step (data, forward, backward, clipping, Adam) without Python in between, the most
that torch offers for many small runs. On a machine without a GPU only what needs none is done, to try the rest.
"""

from collections.abc import Callable
from typing import Any

import torch

from bench.case import Case
from bench.contenders.torch_peers import TorchPeer

STREAMS = 16
WARM_UP = 3


def make(case: Case, problem: str, runs: int) -> "Cudnn":
    return Cudnn(case, problem, runs)


class Cudnn:
    def __init__(self, case: Case, problem: str, runs: int) -> None:
        self.gpu = torch.cuda.is_available()
        device = "cuda" if self.gpu else "cpu"
        self.tf32(False)
        self.peers = [TorchPeer(case, problem if run == 0 else "", device) for run in range(runs)]
        self.streams = [torch.cuda.Stream() for _ in range(STREAMS)] if self.gpu else []
        self.graphs: list[Any] = []
        self.ways: dict[str, Callable[[], Any]] = {
            "one": self.peers[0].training_step,
            "row": self.row,
            "streams": self.on_streams,
            "one, graph": lambda: self.graphs[0].replay(),
            "graphs": self.replay,
            "graphs on streams": self.replay_on_streams,
        }
        self.peaks: dict[str, float] = {}

    def train(self, steps: int, way: str) -> None:
        """So many training steps, of one run or of every one; ` TF32` at the end of a way turns it on."""
        if not self.gpu and way.removesuffix(", TF32") not in ("one", "row"):
            raise RuntimeError("needs a GPU")
        self.tf32(way.endswith(", TF32"))
        if "graph" in way and not self.graphs:
            self.graphs = [self.captured(peer) for peer in self.peers]
        if self.gpu and way not in self.peaks:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(steps):
            self.ways[way.removesuffix(", TF32")]()
        if self.gpu:
            torch.cuda.synchronize()
            self.peaks.setdefault(way, torch.cuda.max_memory_allocated() / 1e6)

    def row(self) -> None:
        for peer in self.peers:
            peer.training_step()

    def on_streams(self) -> None:
        for run, peer in enumerate(self.peers):
            with torch.cuda.stream(self.streams[run % STREAMS]):
                peer.training_step()
        torch.cuda.synchronize()

    def replay(self) -> None:
        for graph in self.graphs:
            graph.replay()

    def replay_on_streams(self) -> None:
        for run, graph in enumerate(self.graphs):
            with torch.cuda.stream(self.streams[run % STREAMS]):
                graph.replay()
        torch.cuda.synchronize()

    def captured(self, peer: TorchPeer) -> Any:
        """A training step as a graph; warmed up on a stream of its own, as torch asks for."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                peer.training_step()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            peer.training_step()
        return graph

    def tf32(self, on: bool) -> None:
        torch.backends.cuda.matmul.allow_tf32 = on
        torch.backends.cudnn.allow_tf32 = on

    def check(self, tf32: bool = False) -> dict[str, float]:
        self.tf32(tf32)
        return self.peers[0].check()

    def about(self) -> dict[str, Any]:
        """MB that torch had allocated at most, by way, and the versions."""
        versions = {"torch": torch.__version__, "cudnn": torch.backends.cudnn.version() if self.gpu else None}
        return {way: {"peak_mb": peak} for way, peak in self.peaks.items()} | {"versions": versions}
