"""The kernel's crypto drivers, crypto cards and OpenSSL's QAT engine on a host."""
