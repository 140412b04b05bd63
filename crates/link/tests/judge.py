"""Judges a grant by cbor2 and cryptography: arguments are the grant and the authority's x and y, in hex.

Prints what the grant says, the asker's credential, the thumbprint of its key (RFC 9679), and a grant made here with the private
key 0101..01.
"""

import hashlib
import sys

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

grant, x, y = (bytes.fromhex(argument) for argument in sys.argv[1:])
signed = cbor2.loads(grant)
assert signed.tag == 18
protected, header, payload, signature = signed.value
assert cbor2.loads(protected) == {1: -7} and header == {4: b"auth"}
authority = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1()).public_key()
to_be_signed = cbor2.dumps(["Signature1", protected, b"", payload])
der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
authority.verify(der, to_be_signed, ec.ECDSA(SHA256()))

claims = cbor2.loads(payload)
assert cbor2.dumps(claims, canonical=True) == payload, "deterministic"
assert sorted(claims) == sorted([2, 3, 4, 6, 8, 9, -65537])
print(claims[2], claims[3], claims[6], claims[4], claims[-65537], cbor2.loads(claims[9]))
print(cbor2.dumps({2: claims[2], 8: claims[8]}, canonical=True).hex())
key = {name: value for name, value in claims[8][1].items() if name in (1, -1, -2, -3)}
print(hashlib.sha256(cbor2.dumps(key, canonical=True)).hexdigest())

private = ec.derive_private_key(int.from_bytes(b"\x01" * 32, "big"), ec.SECP256R1())
claims[4] += 60
payload = cbor2.dumps(claims, canonical=True)
der = private.sign(cbor2.dumps(["Signature1", protected, b"", payload]), ec.ECDSA(SHA256()))
signature = b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(der))
print(cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature])).hex())
