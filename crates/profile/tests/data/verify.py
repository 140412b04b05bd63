"""Checks a signed profile with other people's COSE and CBOR: verify.py PUBLIC.pem PROFILE.cose"""

import hashlib
import sys

import cbor2
from cryptography.hazmat.primitives import serialization
from cwt import COSE, COSEKey, VerifyError

with open(sys.argv[1], "rb") as file:
    pem = file.read()
with open(sys.argv[2], "rb") as file:
    message = file.read()

public = serialization.load_pem_public_key(pem).public_bytes(
    serialization.Encoding.Raw, serialization.PublicFormat.Raw
)
kid = hashlib.sha256(public).digest()[:8]
try:
    protected, unprotected, payload = COSE.new().decode_with_headers(
        message, COSEKey.from_pem(pem, kid=kid)
    )
except VerifyError:
    sys.exit(1)
assert protected == {1: -8, 3: "application/vnd.stockade.profile+cbor", 4: kid}, protected
assert unprotected == {}, unprotected
print("signed by", kid.hex())

profile = cbor2.loads(payload)
print("model", profile["device"]["model"], "version", profile["device"]["version"])
assert cbor2.dumps(profile, canonical=True) == payload
print("canonical")
