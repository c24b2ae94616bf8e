"""Records on the wire: the table of streams, the codec, the ZeroMQ bus."""
