"""Weights of a PyTorch module in a `.safetensors` file, for `--params`: kept in the results folder by content.

`results/weights/<name>-<hash8>.npz` holds parameters of the built-in cell of that kind, so that a run of them can
be repeated by its command alone. A pickle is refused, because reading one runs whatever code is in it.
"""

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gradlab.errors import GradlabError, described, unknown
from gradlab.runs.archive import read_archive
from gradlab.runs.attempt import write_whole
from gradlab.runs.files import OTHERS, regular_bytes
from gradlab.runs.spec import RunSpec, part_of_name
from gradlab.runs.store import Store

SUFFIX = ".safetensors"
_PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt")
_KEY = re.compile(r"(?:(.+)\.)?(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(?:_(l\d+(?:_reverse)?))?")


class ForeignWeights(NamedTuple):
    """Weights in the results folder.

    Attributes:
        name: what `RunSpec.params` calls them. cell: rnn, gru or lstm.
        arrays: `cell/w_x` (I, G·H), `cell/w_h` (H, G·H) and so on.
    """

    name: str
    cell: str
    arrays: dict[str, np.ndarray]

    @property
    def fields(self) -> dict[str, str]:
        """The fields of a run that follow from them."""
        return {"cell": self.cell, "hidden": str(len(self.arrays["cell/w_h"]))}

    def check(self, spec: RunSpec) -> None:
        """Refuse a spec of another cell, hidden size or size of inputs."""
        inputs, hidden = (len(self.arrays[f"cell/{name}"]) for name in ("w_x", "w_h"))
        task, size = spec.task, spec.build_task().input_size
        if spec.cell.partition(":")[0] != self.cell or spec.hidden != hidden:
            raise GradlabError(
                f"{self.name} holds the weights of {self.cell} with hidden={hidden}, not of {spec.cell} with "
                f"hidden={spec.hidden}"
            )
        if size != inputs:
            raise GradlabError(f"{self.name} takes inputs of size {inputs}: those of {task} have size {size}")


def find_weights(store: Store, given: str) -> ForeignWeights | None:
    """The weights that `--params` names: a file, or its name in the results folder; None if it names none.

    Args:
        given: FILE.safetensors, FILE.safetensors:PART where it holds several layers, or the name that it got.

    Raises:
        GradlabError: the file is a pickle, cannot be read, or does not hold one recurrent layer.
    """
    path, _, part = given.partition(f"{SUFFIX}:")
    if part or given.endswith(SUFFIX):
        return _imported(store, Path(f"{path}{SUFFIX}" if part else given), part)
    if given.endswith(_PICKLES):
        raise GradlabError(
            f"params is `{given}`, a pickle, which runs code when it is read: write it in Python by "
            f"safetensors.torch.save_file(model.state_dict(), 'model{SUFFIX}')"
        )
    place = _place(store, given)
    if Path(given).name != given or not place.exists():
        return None
    try:
        arrays = read_archive(regular_bytes(place, OTHERS))
        return ForeignWeights(given, _kind(arrays), arrays)
    except (ValueError, OSError, KeyError) as error:
        raise GradlabError(f"{place} cannot be read: {described(error)}") from None


def _imported(store: Store, path: Path, part: str) -> ForeignWeights:
    from gradlab.cells.torch_layout import kind_of, to_params

    label, layer = _one_layer(path, _layers(path), part)
    try:
        kind = kind_of(layer)
        params = {f"cell/{name}": np.ascontiguousarray(value) for name, value in to_params(layer).items()}
    except (GradlabError, KeyError, ValueError) as error:
        raise GradlabError(f"{label} in {path} is no recurrent layer of PyTorch: {described(error)}") from None
    digest = hashlib.blake2b(digest_size=4)
    for name, value in sorted(params.items()):
        digest.update(f"{name} {value.dtype} {value.shape}".encode() + value.tobytes())
    found = ForeignWeights(f"{part_of_name(path.stem)}-{digest.hexdigest()}", kind, params)
    place, arrays = _place(store, found.name), dict[str, Any](params)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GradlabError(f"results folder `{store.root}` cannot be written: {error.strerror}") from None
    write_whole(place, lambda file: np.savez(file, **arrays))
    return found


def _layers(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """The recurrent layers in a file by label, such as `lstm.l0`, each with `weight_ih` and so on."""
    try:
        content = regular_bytes(path, OTHERS)
        from safetensors.numpy import load

        tensors: dict[str, Any] = load(content)
    except ImportError:
        raise GradlabError(
            f"{path} needs the package safetensors: install the extra, gradlab-rnn[torch]"
        ) from None
    except OSError as error:
        raise GradlabError(f"params is `{path}`, which cannot be read: {error.strerror or error}") from None
    except Exception as error:  # damage may raise anything
        raise GradlabError(f"params is `{path}`, which cannot be read: {described(error)}") from None
    layers: dict[str, dict[str, np.ndarray]] = {}
    for key, value in tensors.items():
        if match := _KEY.fullmatch(key):
            prefix, name, layer = match.groups()
            wide = value if value.dtype in (np.float32, np.float64) else value.astype(np.float32)
            layers.setdefault(".".join(filter(None, (prefix, layer))) or "cell", {})[name] = wide
    return layers


def _one_layer(
    path: Path, layers: dict[str, dict[str, np.ndarray]], part: str
) -> tuple[str, dict[str, np.ndarray]]:
    if not layers:
        raise GradlabError(f"{path} holds no weight_ih and weight_hh, as nn.LSTM, nn.GRU and nn.RNN name them")
    if part and part not in layers:
        raise unknown(f"layer of {path}", part, layers)
    if not part and len(layers) > 1:
        first = sorted(layers)[0]
        raise GradlabError(
            f"{path} holds {len(layers)} recurrent layers, {', '.join(sorted(layers))}: "
            f"name one, --params {path}:{first}"
        )
    label = part or next(iter(layers))
    return label, layers[label]


def _kind(arrays: dict[str, np.ndarray]) -> str:
    hidden, columns = arrays["cell/w_h"].shape
    return {1: "rnn", 3: "gru", 4: "lstm"}[columns // hidden]


def _place(store: Store, name: str) -> Path:
    return store.root / "weights" / f"{name}.npz"
