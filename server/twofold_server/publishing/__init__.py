"""From the log to JetStream: subjects, headers, the stream and the relay."""
