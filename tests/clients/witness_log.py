"""Cosigns a checkpoint in place (C2SP tlog-cosignature v1) and prints the witness's verifier key: witness_log.py CHECKPOINT TIME."""

import base64, hashlib, pathlib, sys

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

path, time, name = pathlib.Path(sys.argv[1]), int(sys.argv[2]), "witness.example"
private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
key = b"\4" + private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
key_id = hashlib.sha256(name.encode() + b"\n" + key).digest()[:4]
note = path.read_bytes()
body = note[: note.rindex(b"\n\n") + 1]
signature = private.sign(b"cosignature/v1\ntime %d\n" % time + body)
line = base64.b64encode(key_id + time.to_bytes(8) + signature).decode()
path.write_bytes(note + f"\u2014 {name} {line}\n".encode())
print(f"{name}+{key_id.hex()}+{base64.b64encode(key).decode()}")
