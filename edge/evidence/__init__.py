"""The files that prove a case: pictures drawn and untouched, stored once, hashed, and named by chained manifests."""
