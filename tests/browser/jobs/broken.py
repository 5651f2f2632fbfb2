raise RuntimeError("this file is <b>broken</b>")
