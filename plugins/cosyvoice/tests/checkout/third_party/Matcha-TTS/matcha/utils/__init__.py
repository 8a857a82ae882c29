raise ModuleNotFoundError("No module named 'lightning'", name="lightning")
