"""The scanner against brute force: it must find exactly what is there, wherever a stream is cut."""

import random

import scan
from cases import case, equal

PUBLIC = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'


@case
def finds_what_brute_force_finds(_):
    source = random.Random(1)
    plaintext = source.randbytes(777) + PUBLIC + b" " * 5000 + bytes(range(40)) + source.randbytes(300)
    for trial in range(150):
        chance = random.Random(trial)
        index = scan.Scanner((PUBLIC,))
        index.add("before", chance.randbytes(chance.randint(0, 50)))
        index.add("plaintext", plaintext)
        haystack = bytearray(chance.randbytes(chance.randint(40, 3000)))
        # One byte less than a window is none.
        length, start, place = chance.choice((31, 32)), chance.randrange(len(plaintext) - 32), chance.randrange(len(haystack) - 32)
        haystack[place:place + length] = plaintext[start:start + length]
        haystack = bytes(haystack)
        windows = (haystack[at:at + 32] for at in range(len(haystack) - 31))
        wanted = any(len(set(window)) >= 12 and window in plaintext and window not in PUBLIC for window in windows)
        cut = chance.randrange(len(haystack))
        found = index.scan("haystack", [haystack[:cut], haystack[cut:]])
        equal((found is not None, found.plaintext if found else "plaintext"), (wanted, "plaintext"), f"trial {trial}")


@case
def finds_values_in_every_form(_):
    value = "a-value-that-is-secret"
    import base64
    for form in (value.encode(), value.encode().hex().encode(), *(base64.b64encode(b"x" * shift + value.encode() + b"yz") for shift in range(3))):
        body = b"noise" * 100 + form + b"noise" * 100
        for cut in (0, 505, 510, len(body)):
            equal(bool(scan.find_values("body", [body[:cut], body[cut:]], ["other-value-entirely", value])), True, f"{form} cut at {cut}")
    equal(scan.find_values("body", [b"noise" * 1000], [value]), None, "what is not there")


@case
def entropy_tells_noise_from_text(_):
    equal(scan.lowest_entropy([b"short"]), None, "entropy of less than a block")
    equal(scan.lowest_entropy([random.Random(0).randbytes(200_000)]) > 7.99, True, "random bytes are over 7.99")
    mixed = random.Random(0).randbytes(65_536) + b"text " * 20_000 + random.Random(1).randbytes(65_536)
    equal(scan.lowest_entropy([mixed]) < 7.5, True, "one block of text is noticed")
