"""Known vulnerabilities of the libraries that load models."""
