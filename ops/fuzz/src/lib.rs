//! Nothing: the fuzzer is the binary, behind the feature `libfuzzer`. A package needs a library to be built without it.
