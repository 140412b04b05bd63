"""Takes apart what the gateway tells a device at /.well-known/stockade/grants, and verifies the grant in it without our code.

Arguments: the bundle; where to write the grant; where to write the key it is verified with, in PEM. Prints what it says.
"""

import sys

import cbor2
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

bundle, grant_file, key_file = sys.argv[1:]
with open(bundle, "rb") as file:
    time, epoch, offers, key = cbor2.loads(file.read())
((grant, credential, name),) = offers
authority = ec.EllipticCurvePublicNumbers(
    int.from_bytes(key[-2], "big"), int.from_bytes(key[-3], "big"), ec.SECP256R1()
).public_key()
protected, header, payload, signature = cbor2.loads(grant).value
halves = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
signed = cbor2.dumps(["Signature1", protected, b"", payload])
authority.verify(encode_dss_signature(*halves), signed, ec.ECDSA(SHA256()))
claims = cbor2.loads(payload)
assert claims[6] == time and claims[4] == time + 86400 and claims[-65537] == 1
assert cbor2.loads(credential)[2] == name == claims[3]
with open(grant_file, "wb") as file:
    file.write(grant)
with open(key_file, "wb") as file:
    file.write(authority.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
print(claims[2], claims[3], cbor2.loads(claims[9]), epoch)
