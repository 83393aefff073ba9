"""What the [web] table of a shore file may say."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.web.notices import NoticeSettings


class WebSettings(BaseModel):
    """Where the supervisors' page listens, and how people are known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on, as in 10.20.0.8")
    port: int = Field(8480, ge=0, le=65_535, description="port to listen on, as in 8480; 0 takes a free one")
    tls_cert: Path | None = Field(None, description="the server's certificate (PEM); with tls_key")
    tls_key: Path | None = Field(None, description="the key of tls_cert (PEM, mode 0600)")
    proxy_header: str | None = Field(
        None, pattern="^[A-Za-z0-9-]+$",
        description="a header in which a reverse proxy on this machine names who has signed in, as in Remote-User",
    )  # fmt: skip
    reports: Path = Field(Path("reports"), description="folder whose reports the page lists")
    notice: tuple[NoticeSettings, ...] = Field(
        (), description="who is told of alarms: tables with priorities, and mail or webhook; nobody if left out"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> "WebSettings":
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("tls_cert and tls_key go together; give both, or neither")
        if self.proxy_header and self.host not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("proxy_header is trusted on loopback only; leave host out, and let the proxy listen")
        if self.host not in ("127.0.0.1", "localhost", "::1") and self.tls_cert is None:
            raise ValueError("without TLS the page listens on loopback only; give tls_cert and tls_key")
        return self

    def beside(self, folder: Path) -> "WebSettings":
        """The same with the paths of a file in that folder."""
        named = {key: getattr(self, key) for key in ("tls_cert", "tls_key", "reports")}
        notices = tuple(notice.beside(folder) for notice in self.notice)
        return self.model_copy(
            update={key: folder / path for key, path in named.items() if path is not None} | {"notice": notices}
        )
