"""What Kinefuse computes, without a clock, socket, file or thread: records, body, estimators, filter, fit."""
