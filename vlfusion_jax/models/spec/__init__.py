"""What a fusion model is, as frozen data; `model.ModelSpec` is the whole, the other files are its parts."""
