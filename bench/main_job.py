"""The main job against plain references, on the same images, in one run.

Three parts, each measured in processes of its own:

- ``throughput``: images a second from files to features, headstart (empty store, compiled graph) against PyTorch's
  ``DataLoader`` with an eager frozen network in float32 and bfloat16; imports excluded on both sides.
- ``process``: seconds from process start to a finished run folder (first time, second time) against a plain script that
  ends with scikit-learn's fitted classifier; with the accuracy of both.
- ``growth``: extraction's images a second and memory on 1,000, 5,000 and 20,000 generated JPEGs.

Run ``make bench``, or ``python bench/main_job.py --data DIR --part throughput``. Needs ``headstart[train]``. Results
are printed, and written to ``--out`` as they come.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SUFFIXES = {".jpg", ".jpeg", ".png"}
BATCH, LOADERS, SEED = 32, 2, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared = os.environ.get("HEADSTART_SHARED", "../shared")
    parser.add_argument("--data", type=Path, default=Path(shared) / "data", help="a folder with images below it")
    parser.add_argument("--fit", type=Path, help="a data set to fit; by default hymenoptera below --data")
    parser.add_argument("--images", type=int, default=2000, help="images in the throughput part")
    parser.add_argument("--repeats", type=int, default=3, help="paired repeats; the medians are compared")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 20000], help="of the growth part")
    parser.add_argument("--part", choices=("throughput", "process", "growth"), action="append")
    parser.add_argument("--out", type=Path, default=Path("bench/results/main_job.json"))
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": machine()}
    for part in options.part or ("throughput", "process", "growth"):
        results[part] = {"throughput": throughput, "process": process, "growth": growth}[part](options)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1))
    print(f"\nwritten to {options.out}")


def machine() -> dict[str, Any]:
    """The CPU's name and what matters of its features."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "unknown")
    return {"cpu": name, "cores": os.cpu_count(), "amx": "amx_bf16" in text, "avx512_bf16": "avx512_bf16" in text}


def throughput(options: argparse.Namespace) -> dict[str, Any]:
    """Paired repeats of headstart and both references over the same files."""
    files = sorted(str(p.resolve()) for p in options.data.rglob("*") if p.suffix.lower() in SUFFIXES)
    files = files[:: max(1, len(files) // options.images)][: options.images]
    kinds = ("headstart", "eager_f32", "eager_bf16")
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        listing = Path(scratch) / "files.json"
        listing.write_text(json.dumps(files))
        for repeat in range(options.repeats):
            for kind in kinds:
                found = child(kind, listing, Path(scratch) / "cache")
                rates[kind].append(found["images_per_second"])
                memory[kind] = found["peak_mb"]
                print(f"repeat {repeat + 1} {kind:12} {found['images_per_second']:7.1f} images/s", flush=True)
    medians = {kind: statistics.median(values) for kind, values in rates.items()}
    warm = statistics.median(medians["headstart"] / rate for rate in rates["eager_f32"])
    print(f"{len(files)} images; headstart is {warm:.1f} x eager float32,", end=" ")
    print(f"{medians['headstart'] / medians['eager_bf16']:.1f} x eager bfloat16 (medians)")
    return {"images": len(files), "images_per_second": rates, "median": medians, "peak_mb": memory}


def process(options: argparse.Namespace) -> dict[str, Any]:
    """Whole processes, alternating: headstart the first and the second time, and the plain script."""
    data = options.fit or options.data / "hymenoptera"
    seconds: dict[str, list[float]] = {"headstart_first": [], "headstart_second": [], "plain_script": []}
    accuracy: dict[str, float] = {}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as scratch:
            env = {**os.environ, "HEADSTART_CACHE": f"{scratch}/cache"}
            for kind in ("headstart_first", "headstart_second"):
                command = [
                    sys.executable,
                    "-m",
                    "headstart.cli",
                    "fit",
                    "--budget=1s",
                    str(data),
                    "--json",
                    "--out",
                    f"{scratch}/{kind}",
                ]
                started = time.perf_counter()
                done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
                seconds[kind].append(time.perf_counter() - started)
                accuracy["headstart"] = json.loads(done.stdout)["splits"]["test"]["accuracy"]
            started = time.perf_counter()
            found = child("plain_script", data, Path(scratch))
            seconds["plain_script"].append(time.perf_counter() - started)
            accuracy["plain_script"] = found["accuracy"]
    for kind, values in seconds.items():
        print(f"{kind:18} {statistics.median(values):6.2f} s  ({', '.join(f'{v:.2f}' for v in values)})")
    print(f"accuracy: {accuracy}")
    return {"data": data.name, "seconds": seconds, "accuracy": accuracy}


def growth(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Extraction of generated JPEGs: the memory that it adds must not grow with their number."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        generated = Path(scratch) / "images"
        for size in options.sizes:
            files = generate(generated, size)
            listing = Path(scratch) / "files.json"
            listing.write_text(json.dumps(files))
            found = child("headstart", listing, Path(scratch) / f"cache-{size}")
            rows.append({"images": size, **found})
            print(
                f"{size:6} images  {found['images_per_second']:7.1f} images/s  peak {found['peak_mb']:.0f} MB",
                flush=True,
            )
    return rows


def generate(folder: Path, count: int) -> list[str]:
    """JPEGs of 320 × 240 pixels, smooth shapes with noise; those that exist already are kept."""
    import numpy as np
    from PIL import Image

    folder.mkdir(exist_ok=True)
    y, x = np.mgrid[0:240, 0:320] / 240
    for number in range(count):
        path = folder / f"{number:06d}.jpg"
        if path.exists():
            continue
        rng = np.random.default_rng(number)
        waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-12, 12, (3, 3))]
        pixels = 128 + 90 * np.stack(waves, -1) + rng.normal(0, 12, (240, 320, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return [str(folder / f"{number:06d}.jpg") for number in range(count)]


def child(kind: str, what: Path, scratch: Path) -> dict[str, Any]:
    """Run one measurement in a process of its own."""
    env = {**os.environ, "HEADSTART_CACHE": str(scratch)}
    command = [sys.executable, __file__, "--child", kind, str(what)]
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def run_child(kind: str, what: Path) -> None:
    """What a child process measures; prints one line of JSON."""
    if kind == "plain_script":
        print(json.dumps(plain_script(what)))
        return
    files = json.loads(what.read_text())
    run = headstart_features(files) if kind == "headstart" else eager_features(files, kind)
    next(run)  # imports, weights and the compiled graph
    before = peak_mb()
    started = time.perf_counter()
    rows = next(run)
    rate = len(files) / (time.perf_counter() - started)
    assert rows == len(files)
    print(json.dumps({"images_per_second": rate, "before_mb": before, "peak_mb": peak_mb()}))


def headstart_features(files: list[str]) -> Iterator[int]:
    """Read, hash, decode, compute and store, as ``headstart fit`` does, with an empty store."""
    import hashlib

    from headstart.backbones.catalogue import find_backbone
    from headstart.features.compiling import compile_trunk
    from headstart.features.extract import extract, probe_trunk
    from headstart.features.parity import photographs
    from headstart.features.store import Store
    from headstart.runs import SilentProgress

    compiled = compile_trunk(probe_trunk(find_backbone("bundled/tf_efficientnet_lite0")), engine="openvino")
    compiled(photographs(224)[:1])
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder), limit_bytes=10**11) as store:
        yield 0
        hashes = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files]
        found = extract(lambda i: Path(files[i]).read_bytes(), files, hashes, compiled, store, SilentProgress())
        yield len(found.table) + len(found.failures)


def eager_features(files: list[str], kind: str) -> Iterator[int]:
    """The usual script: a data loader with two workers, and a frozen network in channels-last."""
    import torch

    from headstart.backbones.bundled import BundledBackbone

    backbone = BundledBackbone("tf_efficientnet_lite0")
    network = reference_network(backbone).to(memory_format=torch.channels_last)
    dtype = torch.bfloat16 if kind == "eager_bf16" else torch.float32
    network = network.to(dtype)
    loader = torch.utils.data.DataLoader(Files(files), BATCH, num_workers=LOADERS)
    yield 0
    rows = 0
    with torch.inference_mode():
        for batch in loader:
            features = network(batch.to(dtype=dtype, memory_format=torch.channels_last))
            rows += len(features.float().numpy())
    yield rows


class Files:
    """A map-style data set with timm's evaluation transform for these weights, in torchvision."""

    def __init__(self, files: list[str]) -> None:
        from torchvision import transforms
        from torchvision.transforms import InterpolationMode

        self.files = files
        self.transform = transforms.Compose(
            [
                transforms.Resize(256, InterpolationMode.BICUBIC),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * 3, [0.5] * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        from PIL import Image

        with Image.open(self.files[index]) as image:
            return self.transform(image.convert("RGB"))


def reference_network(backbone: Any) -> Any:
    """timm's network with the bundled weights, its classifier removed."""
    import timm
    import torch

    from headstart.backbones._lite_graph import lite_key
    from headstart.backbones.bundled import BUNDLED

    architecture = BUNDLED["tf_efficientnet_lite0"].architecture
    network = timm.create_model("tf_efficientnet_lite0")
    state = {lite_key(key, architecture): torch.from_numpy(value.copy()) for key, value in backbone.tensors.items()}
    network.load_state_dict(state)
    network.reset_classifier(0)
    return network.eval()


def plain_script(data: Path) -> dict[str, Any]:
    """train/ and val/ folders → eager features → scikit-learn's classifier with a cross-validated penalty."""
    import numpy as np
    import torch
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from headstart.backbones.bundled import BundledBackbone

    network = reference_network(BundledBackbone("tf_efficientnet_lite0")).to(memory_format=torch.channels_last)
    parts = {}
    for split in ("train", "val"):
        files = sorted(str(p) for p in (data / split).rglob("*") if p.suffix.lower() in SUFFIXES)
        loader = torch.utils.data.DataLoader(Files(files), BATCH, num_workers=LOADERS)
        with torch.inference_mode():
            rows = [network(batch.to(memory_format=torch.channels_last)).numpy() for batch in loader]
        parts[split] = np.concatenate(rows), [Path(file).parent.name for file in files]
    model = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=10, cv=5, max_iter=1000))
    warnings.simplefilter("ignore", FutureWarning)  # about the next release's defaults
    model.fit(*parts["train"])
    return {"accuracy": float(model.score(*parts["val"]))}


def peak_mb() -> float:
    """Peak resident memory of this process, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] == "--child":
        run_child(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
