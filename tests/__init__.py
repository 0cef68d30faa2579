"""The tests; they mirror handler/ and infra/ file by file."""
