"""The one place where Tailor's version stands."""

VERSION = "0.1.0"
