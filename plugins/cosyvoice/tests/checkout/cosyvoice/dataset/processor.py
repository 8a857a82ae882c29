raise ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow")
