"""What S3 does, case by case: every case asserts AWS's documented behaviour and runs against any endpoint.

Nothing here knows a gateway. What a server or the gateway does otherwise stands in `../differences.toml` with its reason.
"""
