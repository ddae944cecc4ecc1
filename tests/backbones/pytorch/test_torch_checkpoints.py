"""Checkpoints: every container read alike, whatever is damaged, foreign or dangerous refused in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from headstart.errors import BackboneError

torch = pytest.importorskip("torch")

from safetensors.torch import save_file  # noqa: E402

from headstart.backbones.pytorch.checkpoints import load_strictly, read_state  # noqa: E402


def _network() -> Any:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 5)
    )


STATE = {key: value.clone() for key, value in _network().state_dict().items()}


def _same(state: dict[str, Any]) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[key], STATE[key]) for key in STATE)


@pytest.mark.parametrize("name", ["model.safetensors", "open_clip_model.safetensors", "other.safetensors"])
def test_safetensors_in_a_folder(tmp_path: Path, name: str) -> None:
    save_file(STATE, tmp_path / name)
    assert _same(read_state(tmp_path))
    assert _same(read_state(tmp_path / name))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "weights.pth", "weights.pt"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrapper", [(), ("state_dict",), ("model",), ("teacher",), ("model", "state_dict")])
def test_what_torch_saved(tmp_path: Path, name: str, zipped: bool, wrapper: tuple[str, ...]) -> None:
    wrapped: Any = STATE
    for key in wrapper:
        wrapped = {key: wrapped, "epoch": 3}
    torch.save(wrapped, tmp_path / name, _use_new_zipfile_serialization=zipped)
    assert _same(read_state(tmp_path))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_floats_of_any_width_become_float32_and_integers_stay(tmp_path: Path, dtype: str) -> None:
    other = getattr(torch, dtype)
    save_file(
        {k: v.to(other) if v.is_floating_point() else v for k, v in STATE.items()}, tmp_path / "model.safetensors"
    )
    state = read_state(tmp_path)
    assert state["0.weight"].dtype == torch.float32
    assert state["1.num_batches_tracked"].dtype == torch.int64
    torch.testing.assert_close(state["0.weight"], STATE["0.weight"].to(other).float(), rtol=0, atol=0)


def _shards(folder: Path, **places: str) -> dict[str, str]:
    keys = list(STATE)
    for number, part in enumerate((keys[:3], keys[3:]), start=1):
        save_file({key: STATE[key] for key in part}, folder / f"model-0000{number}-of-00002.safetensors")
    found = {key: f"model-0000{1 if key in keys[:3] else 2}-of-00002.safetensors" for key in keys} | places
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": found}))
    return found


def test_shards(tmp_path: Path) -> None:
    _shards(tmp_path)
    assert _same(read_state(tmp_path))
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BackboneError, match=r"model-00002-of-00002\.safetensors is missing"):
        read_state(tmp_path)


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..", "c:\\x", ""])
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, shard: str) -> None:
    _shards(tmp_path, **{"0.weight": shard})
    with pytest.raises(BackboneError, match="not the name of a file beside it"):
        read_state(tmp_path)


def test_an_index_that_promises_more_than_the_shards_hold(tmp_path: Path) -> None:
    _shards(tmp_path, extra="model-00001-of-00002.safetensors")
    with pytest.raises(BackboneError, match=r"1 tensors that it names are in no shard \(extra\)"):
        read_state(tmp_path)


def test_a_half_downloaded_safetensors_says_how_much_is_there(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(STATE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(BackboneError, match=rf"{len(whole) - 40:,} of {len(whole):,} bytes: the download did not"):
        read_state(tmp_path)
    for length in (0, 2, 40):
        path.write_bytes(whole[:length])
        with pytest.raises(BackboneError, match=f"{length} bytes.*the download did not finish"):
            read_state(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_page_in_place_of_the_weights_is_not_called_a_pickle(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html><body>404: not found</body></html>" * 9)
    with pytest.raises(BackboneError, match=r"not a readable safetensors|starts with b'<html>.*fetch it again"):
        read_state(tmp_path)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_half_downloaded_pickle(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "pytorch_model.bin"
    torch.save(STATE, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(BackboneError, match=r"pytorch_model\.bin: .*(did not finish|not a readable)"):
        read_state(tmp_path)


def test_downloads_that_are_still_going_on(tmp_path: Path) -> None:
    (tmp_path / "abc.incomplete").write_bytes(b"1")
    with pytest.raises(BackboneError, match="did not finish"):
        read_state(tmp_path)


def test_nothing_there_lists_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"model\.safetensors is missing.*pytorch_model\.bin.*\.pth"):
        read_state(tmp_path)
    with pytest.raises(BackboneError, match="no such weights file"):
        read_state(tmp_path / "nothing.pth")


def test_two_files_are_not_guessed_between(tmp_path: Path) -> None:
    for name in ("a.pth", "b.pth"):
        torch.save(STATE, tmp_path / name)
    with pytest.raises(BackboneError, match=r"which weights\? found a\.pth, b\.pth"):
        read_state(tmp_path)


def test_a_git_lfs_pointer_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(BackboneError, match="git lfs pull"):
        read_state(tmp_path)


class _Trap:
    sprung = False

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _spring, ()


def _spring() -> None:
    _Trap.sprung = True


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_needs_code_is_refused_and_never_run(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a": _Trap()}, tmp_path / "model.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(BackboneError, match=r"needs the code .*_spring: refused.*save_file"):
        read_state(tmp_path / "model.pth")
    assert not _Trap.sprung


def test_a_whole_pickled_network_is_refused_by_name(tmp_path: Path) -> None:
    torch.save(_network(), tmp_path / "model.pth")
    with pytest.raises(BackboneError, match=r"torch\.nn\.modules\.container\.Sequential"):
        read_state(tmp_path / "model.pth")


def test_a_checkpoint_without_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "arch": "x"}, tmp_path / "model.pth")
    with pytest.raises(BackboneError, match=r"holds no tensors by name.*epoch"):
        read_state(tmp_path / "model.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "backbone.", "module.backbone."])
def test_common_prefixes_are_left_out(prefix: str) -> None:
    network = _network()
    load_strictly(network, {prefix + key: value + 1 for key, value in STATE.items()}, "here")
    assert torch.equal(network.state_dict()["0.weight"], STATE["0.weight"] + 1)


def test_a_prefix_that_the_network_has_as_well_stays() -> None:
    network = torch.nn.Module()
    network.model = torch.nn.Linear(2, 2)
    load_strictly(network, {f"model.{key}": value + 1 for key, value in network.model.state_dict().items()}, "here")


def test_missing_and_left_over_tensors_are_listed() -> None:
    state = {key: value for key, value in STATE.items() if key != "0.weight"} | {"extra": torch.zeros(1)}
    with pytest.raises(BackboneError, match=r"here: .*1 tensors missing \(0\.weight\), 1 unexpected \(extra\)"):
        load_strictly(_network(), state, "here")
    del state["extra"]
    with pytest.raises(BackboneError, match="incomplete checkpoint"):
        load_strictly(_network(), state, "here")


def test_another_architecture_is_called_that() -> None:
    with pytest.raises(BackboneError, match=r"another architecture.*0\.weight \(4, 3, 5, 5\) for \(4, 3, 3, 3\)"):
        load_strictly(_network(), STATE | {"0.weight": torch.zeros(4, 3, 5, 5)}, "here")


def test_counters_of_batches_may_be_missing() -> None:
    load_strictly(_network(), {k: v for k, v in STATE.items() if not k.endswith("num_batches_tracked")}, "here")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(value: float) -> None:
    with pytest.raises(BackboneError, match=r"1\.running_var holds NaN or infinity"):
        load_strictly(_network(), STATE | {"1.running_var": torch.full((4,), value)}, "here")


def test_quantised_weights_are_refused() -> None:
    with pytest.raises(BackboneError, match=r"quantised \(0\.weight int8\)"):
        load_strictly(_network(), STATE | {"0.weight": torch.zeros(4, 3, 3, 3, dtype=torch.int8)}, "here")


@pytest.mark.parametrize("head", ["none", "other classes", "without bias"])
def test_a_head_for_other_classes_is_no_misfit_of_a_backbone(head: str) -> None:
    state = {key: value for key, value in STATE.items() if not key.startswith("3.")}
    if head != "none":
        state["3.weight"] = torch.ones(9, 4) if head == "other classes" else torch.ones(5, 4)
    network = _network()
    load_strictly(network, state, "here", classifiers=["3"])
    assert not network[3].weight.any()
    assert not network[3].bias.any()
