"""The papers that are reproduced, each in a folder of one anatomy; `registry` lists them."""
