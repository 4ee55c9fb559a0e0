# Only what logagent/config/ini.py uses.
from collections.abc import Sequence

class ConfigObjError(SyntaxError):
    line_number: int | None
    errors: list[ConfigObjError]
    config: ConfigObj

class NestingError(ConfigObjError): ...
class ParseError(ConfigObjError): ...
class DuplicateError(ConfigObjError): ...

class Section(dict[str, str | Section]):
    scalars: list[str]
    sections: list[str]

class ConfigObj(Section):
    def __init__(
        self,
        infile: Sequence[str] = ...,
        *,
        interpolation: bool = ...,
        list_values: bool = ...,
        raise_errors: bool = ...,
    ) -> None: ...
