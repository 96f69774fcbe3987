"""Quotes that came out of a word processor."""

TEXT = “hello”
