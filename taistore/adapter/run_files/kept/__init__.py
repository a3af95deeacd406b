"""What a run keeps beside its weights, for whoever goes on with it or opens it."""
