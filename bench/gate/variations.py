"""Clean repeats: what does not matter is varied, and nobody may cry wolf."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.gate.patches import REWRITES, Patch

JAXES = ("0.10.0", "0.9.2")
"""Other releases of jax. On Python 3.11 gradlab's dependencies allow no other one, so these are forced in."""


@dataclass(frozen=True)
class Repeat:
    """One clean repeat.

    Attributes:
        name: what is varied.
        kind: a word for the table.
        environment: variables of the process. cores: that it may use, 0 for all.
        patch: a rewrite that means the same. jax: another release. seed: of unrelated streams.
    """

    name: str
    kind: str
    environment: dict[str, str] = field(default_factory=dict)
    cores: int = 0
    patch: Patch | None = None
    jax: str = ""
    seed: int = 0


def repeats() -> Iterator[Repeat]:
    """All of them."""
    for seed in (1, 2, 3):
        yield Repeat(f"unrelated seeds {seed}", "seeds", {"PYTHONHASHSEED": str(seed)}, seed=seed)
    yield Repeat("one core", "threads", cores=1)
    yield _flags("threads", "--xla_cpu_multi_thread_eigen=false")
    yield _flags("threads", "--xla_force_host_platform_device_count=2")
    yield Repeat("matmul precision highest", "settings", {"JAX_DEFAULT_MATMUL_PRECISION": "highest"})
    isas = ("SSE4_2", "AVX", "AVX2", "AVX512")
    threads = ("", "--xla_cpu_multi_thread_eigen=false")
    for isa, thread in itertools.product(isas, threads):
        yield _flags("processor", f"--xla_cpu_max_isa={isa}", thread)
    for isa, width in itertools.product(("", "--xla_cpu_max_isa=AVX2"), (128, 512)):
        yield _flags("processor", isa, f"--xla_cpu_prefer_vector_width={width}")
    for level, isa in itertools.product((0, 1, 2), ("", "--xla_cpu_max_isa=AVX2")):
        yield _flags("compiler", f"--xla_backend_optimization_level={level}", isa)
    yield _flags("compiler", "--xla_llvm_disable_expensive_passes=true")
    yield _flags("compiler", "--xla_llvm_disable_expensive_passes=true", "--xla_cpu_max_isa=AVX2")
    for patch, isa in itertools.product(REWRITES, ("", "AVX2")):
        flags = {"XLA_FLAGS": f"--xla_cpu_max_isa={isa}"} if isa else {}
        kind = "batch order" if patch.name.startswith("batch") else "rewrite"
        yield Repeat(f"{patch.name}{', ' + isa if isa else ''}", kind, flags, patch=patch)
    for jax, isa in itertools.product(JAXES, ("", "AVX2")):
        flags = {"XLA_FLAGS": f"--xla_cpu_max_isa={isa}"} if isa else {}
        yield Repeat(f"jax {jax}{', ' + isa if isa else ''}", "jax", flags, jax=jax)


def _flags(kind: str, *flags: str) -> Repeat:
    given = " ".join(flag for flag in flags if flag)
    return Repeat(given.replace("--xla_", ""), kind, {"XLA_FLAGS": given})
