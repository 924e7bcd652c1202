"""Turn the contract in protos/ into generated/: messages, typed stubs, gRPC code and one descriptor set.

python scripts/generate.py                              the project's own contract
python scripts/generate.py --check                      is generated/ what protos/ would give?
python scripts/generate.py --protos toy --out toy_code  another root; it may import the project's protos
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import google.api
import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

PROJECT = Path(__file__).resolve().parent.parent
DESCRIPTORS = "descriptors.binpb"
VALIDATE = "buf/validate/validate.proto"


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The proto roots to generate from, and those that they only import from."""

    roots: Sequence[Path]
    imports: Sequence[Path]

    def files(self) -> list[str]:
        """Every .proto below the roots, relative to its root, sorted so that the output is stable."""
        return sorted({path.relative_to(r).as_posix() for r in self.roots for path in r.rglob("*.proto")})


class GenerationFailed(Exception):
    """protoc refused the contract, or the output folder is not ours; the message says which."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    contract = Contract(roots=options.protos, imports=_imports(options.protos))
    try:
        with tempfile.TemporaryDirectory(prefix="twofold-generate-") as scratch:
            fresh = Path(scratch, "fresh")
            generate(contract, fresh)
            if options.check:
                return _report_differences(fresh, options.out)
            replace_folder(options.out, fresh)
    except GenerationFailed as problem:
        print(f"generate: {problem}", file=sys.stderr)
        return 1
    print(f"generate: {len(contract.files())} proto files -> {options.out}")
    return 0


def generate(contract: Contract, out: Path) -> None:
    """Write the code of every file in `contract` below the new folder `out`."""
    files = contract.files()
    if not files:
        raise GenerationFailed(f"no .proto file below {', '.join(map(str, contract.roots))}")
    out.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="twofold-validate-") as scratch:
        paths = _proto_paths(contract, Path(scratch))
        _protoc(
            paths,
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={out / DESCRIPTORS}",
            *files,
        )
        # A root that imports another one finds the validation rules in that one's generated code.
        rules = [] if contract.imports else [VALIDATE]
        _protoc(paths, f"--python_out={out}", f"--mypy_out=quiet:{out}", *files, *rules)
        services = _files_with_services(out / DESCRIPTORS, files)
        if services:
            _protoc(paths, f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}", *services)
    _make_packages(out)


def replace_folder(folder: Path, fresh: Path) -> None:
    """Put `fresh` in the place of `folder`, which must be empty or an earlier run's."""
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / DESCRIPTORS).is_file():
            raise GenerationFailed(f"{folder} holds other files and no {DESCRIPTORS}: not wiping it")
        shutil.rmtree(folder)
    shutil.copytree(fresh, folder, dirs_exist_ok=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--protos", nargs="+", type=Path, default=[PROJECT / "protos"], metavar="DIR")
    parser.add_argument("--out", type=Path, default=PROJECT / "generated", metavar="DIR")
    parser.add_argument("--check", action="store_true", help="compare only; 1 if --out is out of date")
    return parser.parse_args(arguments)


def _imports(roots: Iterable[Path]) -> list[Path]:
    project = PROJECT / "protos"
    return [] if project in [root.resolve() for root in roots] else [project]


def _proto_paths(contract: Contract, scratch: Path) -> list[str]:
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    # google.api is a folder of googleapis-common-protos; its .proto files lie beside the modules.
    googleapis = Path(google.api.__path__[0]).parent.parent
    roots = [*contract.roots, *contract.imports, well_known, googleapis]
    return [f"--descriptor_set_in={_validation_rules(scratch)}", *(f"--proto_path={root}" for root in roots)]


def _validation_rules(scratch: Path) -> Path:
    """protovalidate ships no .proto file, only the descriptor of it that its own module embeds."""
    rules = FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    target = scratch / "validate.binpb"
    target.write_bytes(FileDescriptorSet(file=[rules]).SerializeToString(deterministic=True))
    return target


def _protoc(paths: Iterable[str], *arguments: str) -> None:
    scripts = Path(sysconfig.get_path("scripts"))
    plugins = [f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    if protoc.main(["protoc", *paths, *plugins, *arguments]) != 0:
        raise GenerationFailed("protoc failed, see above")


def _files_with_services(descriptors: Path, files: Iterable[str]) -> list[str]:
    image = FileDescriptorSet.FromString(descriptors.read_bytes())
    with_service = {file.name for file in image.file if file.service}
    return [name for name in files if name in with_service]


def _make_packages(out: Path) -> None:
    for folder in sorted(path for path in out.rglob("*") if path.is_dir()):
        (folder / "__init__.py").touch()
    for package in sorted(path for path in out.iterdir() if path.is_dir()):
        (package / "py.typed").touch()  # without it mypy turns every message into Any


def _report_differences(fresh: Path, committed: Path) -> int:
    differing = sorted(_differences(fresh, committed))
    for name in differing:
        print(f"generate: out of date: {committed / name}", file=sys.stderr)
    if differing:
        print("generate: run `make generate` and commit the result", file=sys.stderr)
    return 1 if differing else 0


def _differences(fresh: Path, committed: Path) -> set[Path]:
    names = _names(fresh) | _names(committed)
    return {name for name in names if not _same(fresh / name, committed / name)}


def _names(folder: Path) -> set[Path]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder) for path in files}


def _same(left: Path, right: Path) -> bool:
    return left.is_file() and right.is_file() and filecmp.cmp(left, right, shallow=False)


if __name__ == "__main__":
    sys.exit(main())
