"""Tests, in folders that mirror the packages. A package, so that tests/fusion is not taken for fusion."""
