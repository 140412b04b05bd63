"""Verifies a log of the vault: verify_log.py DIR KEY [OLD CHECKPOINT]. Written from RFC 6962 and C2SP's tlog-tiles,
signed-note and tlog-checkpoint; nothing of Stockade is used. Standard library, and cryptography for Ed25519."""

import base64, hashlib, pathlib, sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

folder, (name, key_id, key) = pathlib.Path(sys.argv[1]), sys.argv[2].split("+", 2)
key = base64.b64decode(key, validate=True)
known = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]


def stop(what):
    sys.exit(f"NOT VERIFIED: {what}")


def opened(path):
    text, _, signatures = path.read_bytes().decode().rpartition("\n\n")
    text += "\n" if signatures.endswith("\n") else stop(f"{path} is cut short")
    for line in signatures.splitlines():
        mark, signer, signature = line.split(" ")
        signature = base64.b64decode(signature, validate=True)
        if (mark, signer, signature[:4]) == ("\u2014", name, known):
            Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], text.encode())
            origin, size, root = text.splitlines()[:3]
            return (int(size), base64.b64decode(root)) if origin == name else stop("another log")
    stop(f"{path} is not signed by {name}")


def place(kind, index, width):
    digits = str(index).zfill(-(-len(str(index)) // 3) * 3)
    parts = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    path = "/".join(["tile", kind, *("x" + part for part in parts[:-1]), parts[-1]])
    return path if width == 256 else f"{path}.p/{width}"


def node(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root(nodes):  # RFC 6962 section 2.1, of nodes of one height
    if len(nodes) <= 1:
        return nodes[0] if nodes else hashlib.sha256(b"").digest()
    split = 1 << (len(nodes) - 1).bit_length() - 1
    return node(root(nodes[:split]), root(nodes[split:]))


try:
    if key[0] != 1 or known.hex() != key_id:
        stop("this is no key of a log")
    size, signed = opened(folder / "checkpoint")
    old = opened(pathlib.Path(sys.argv[3])) if len(sys.argv) > 3 else (0, root([]))
    leaves, files = [], 1
    for index in range(-(-size // 256)):
        width = min(256, size - 256 * index)
        bundle = (folder / place("entries", index, width)).read_bytes()
        for _ in range(width):
            length = int.from_bytes(bundle[:2])
            if len(bundle) < 2 + length:
                stop(f"{place('entries', index, width)} ends too early")
            leaves.append(hashlib.sha256(b"\0" + bundle[2 : 2 + length]).digest())
            bundle = bundle[2 + length :]
        files += 1 if not bundle else stop(f"{place('entries', index, width)} is too long")
    level, nodes = 0, leaves
    while nodes:
        for index in range(-(-len(nodes) // 256)):
            tile = nodes[256 * index : 256 * index + 256]
            path = place(str(level), index, len(tile))
            files += 1 if (folder / path).read_bytes() == b"".join(tile) else stop(f"{path} differs")
        level, nodes = level + 1, [root(nodes[at : at + 256]) for at in range(0, len(nodes) - 255, 256)]
    if root(leaves) != signed:
        stop("the entries do not have the root that was signed")
    if old[0] > size or root(leaves[: old[0]]) != old[1]:
        stop(f"does not begin with the {old[0]} entries of the older checkpoint")
    print(f"verified: {size} entries, {files} files, root {signed.hex()}")
except (OSError, ValueError, InvalidSignature) as error:
    stop(f"{type(error).__name__}: {error}")
