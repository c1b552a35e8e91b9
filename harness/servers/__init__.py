"""What data paths deploy: servers, a certificate, the QAT engine, a card; and what these need of a host."""
