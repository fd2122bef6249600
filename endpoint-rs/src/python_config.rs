//! A dictionary of Python into a [`Config`]. Whatever is wrong is named by its key, as written.

use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use zeroize::Zeroizing;

use crate::config::{
    Acks, ClientCertificates, Config, Kind, Listener, Network, Otherwise, Secret, Tls, UpstreamTls,
    parse_address,
};

/// A dictionary of the configuration. What is taken from it is known; the rest is an error.
struct Section<'py> {
    name: &'static str,
    dict: Bound<'py, PyDict>,
    known: Vec<&'static str>,
}

impl<'py> Section<'py> {
    fn new(name: &'static str, value: &Bound<'py, PyAny>) -> PyResult<Self> {
        let dict = value
            .cast::<PyDict>()
            .map_err(|_| PyValueError::new_err(format!("{name}: must be a dictionary")))?
            .clone();
        Ok(Self { name, dict, known: Vec::new() })
    }

    /// Take a value; `None` of Python counts as absent.
    fn any(&mut self, key: &'static str) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.known.push(key);
        Ok(self.dict.get_item(key)?.filter(|value| !value.is_none()))
    }

    fn take<T>(&mut self, key: &'static str) -> PyResult<Option<T>>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        let Some(value) = self.any(key)? else { return Ok(None) };
        value.extract().map(Some).map_err(|_| {
            // The value may be a secret: name its type, not it.
            let found = value.get_type().to_string();
            PyValueError::new_err(format!(
                "{}: cannot be {found}, or is out of range",
                self.at(key)
            ))
        })
    }

    fn need<T>(&mut self, key: &'static str) -> PyResult<T>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        self.take(key)?.ok_or_else(|| PyValueError::new_err(format!("{}: missing", self.at(key))))
    }

    fn set<T>(&mut self, key: &'static str, field: &mut T) -> PyResult<()>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        if let Some(value) = self.take(key)? {
            *field = value;
        }
        Ok(())
    }

    fn set_ms(&mut self, key: &'static str, field: &mut Duration) -> PyResult<()> {
        if let Some(value) = self.take::<u32>(key)? {
            *field = Duration::from_millis(u64::from(value));
        }
        Ok(())
    }

    fn word<T>(&mut self, key: &'static str, words: &[(&str, T)]) -> PyResult<Option<T>>
    where
        T: Copy,
    {
        let Some(word) = self.take::<String>(key)? else { return Ok(None) };
        match words.iter().find(|(known, _)| *known == word) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let known: Vec<_> = words.iter().map(|(known, _)| *known).collect();
                let text = format!("{}: must be one of {}", self.at(key), known.join(", "));
                Err(PyValueError::new_err(text))
            }
        }
    }

    fn section(&mut self, key: &'static str) -> PyResult<Option<Section<'py>>> {
        self.any(key)?.map(|value| Section::new(key, &value)).transpose()
    }

    fn at(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    fn end(self) -> PyResult<()> {
        for key in self.dict.keys() {
            let key: String = key.extract()?;
            if !self.known.contains(&key.as_str()) {
                return Err(PyValueError::new_err(format!("{}: unknown key", self.at(&key))));
            }
        }
        Ok(())
    }
}

pub fn read_config(value: &Bound<'_, PyAny>) -> PyResult<Config> {
    let mut section = Section::new("", value)?;
    let mut config = Config::default();
    let listeners: Vec<Bound<'_, PyAny>> = section.need("listeners")?;
    for listener in &listeners {
        config.listeners.push(read_listener(listener)?);
    }
    section.set("workers", &mut config.workers)?;
    section.set("allow_debug", &mut config.allow_debug)?;
    let ambiguous = [("error", false), ("close", true)];
    if let Some(closes) = section.word("on_ambiguous", &ambiguous)? {
        config.closes_on_ambiguous = closes;
    }
    config.tls = section.section("tls")?.map(read_tls).transpose()?;
    config.upstream_tls = section.section("upstream_tls")?.map(read_upstream_tls).transpose()?;
    config.acks = section.section("acks")?.map(read_acks).transpose()?.flatten();
    if let Some(mut read) = section.section("read")? {
        read.set("lag_max_bytes", &mut config.read.lag_max_bytes)?;
        read.set("zone", &mut config.read.zone)?;
        let fallback = [("primary", true), ("refuse", false)];
        if let Some(falls_back) = read.word("fallback", &fallback)? {
            config.read.falls_back = falls_back;
        }
        read.end()?;
    }
    if let Some(mut hold) = section.section("hold")? {
        hold.set_ms("window_ms", &mut config.hold.window)?;
        hold.set("client_bytes", &mut config.hold.client_bytes)?;
        hold.set("total_bytes", &mut config.hold.total_bytes)?;
        hold.set("release_concurrency", &mut config.hold.release_concurrency)?;
        hold.end()?;
    }
    if let Some(limits) = section.section("limits")? {
        read_limits(limits, &mut config)?;
    }
    if let Some(upstream) = section.section("upstream")? {
        read_upstream(upstream, &mut config)?;
    }
    section.end()?;
    config.check().map_err(PyValueError::new_err)?;
    Ok(config)
}

fn read_listener(value: &Bound<'_, PyAny>) -> PyResult<Listener> {
    let mut section = Section::new("listener", value)?;
    let name: String = section.need("address")?;
    let address = parse_address(&name).map_err(PyValueError::new_err)?;
    let kinds = [("primary", Kind::Primary), ("replicas", Kind::Replicas)];
    let kind = section.word("kind", &kinds)?.unwrap_or(Kind::Primary);
    let tls = section.take("tls")?.unwrap_or(false);
    let networks: Vec<String> = section.take("proxy_protocol_from")?.unwrap_or_default();
    let mut proxy_from = Vec::with_capacity(networks.len());
    for network in &networks {
        proxy_from.push(Network::parse(network).ok_or_else(|| {
            let text = format!("listener {name}: {network} is no address or network (10.0.0.0/8)");
            PyValueError::new_err(text)
        })?);
    }
    let fds = section.take("fds")?.unwrap_or_default();
    section.end()?;
    Ok(Listener { name, address, kind, tls, proxy_from, fds })
}

fn read_tls(mut section: Section<'_>) -> PyResult<Tls> {
    let client_ca: Option<PathBuf> = section.take("client_ca")?;
    let words = [
        ("none", ClientCertificates::None),
        ("optional", ClientCertificates::Optional),
        ("required", ClientCertificates::Required),
    ];
    let default =
        if client_ca.is_some() { ClientCertificates::Required } else { ClientCertificates::None };
    let tls = Tls {
        certificate: section.need("certificate")?,
        key: section.need("key")?,
        client_ca,
        client_certificates: section.word("client_certificates", &words)?.unwrap_or(default),
    };
    section.end()?;
    Ok(tls)
}

fn read_upstream_tls(mut section: Section<'_>) -> PyResult<UpstreamTls> {
    let certificate: Option<PathBuf> = section.take("certificate")?;
    let key: Option<PathBuf> = section.take("key")?;
    if certificate.is_some() != key.is_some() {
        let text = "upstream_tls: certificate and key go together; give both or neither";
        return Err(PyValueError::new_err(text));
    }
    let tls = UpstreamTls {
        ca: section.need("ca")?,
        identity: certificate.zip(key),
        name: section.take("name")?,
    };
    section.end()?;
    Ok(tls)
}

fn read_acks(mut section: Section<'_>) -> PyResult<Option<Acks>> {
    let otherwise = [("refuse", Otherwise::Refuse), ("degrade", Otherwise::Degrade)];
    let mut acks = Acks {
        replicas: section.need("replicas")?,
        timeout: Duration::from_secs(1),
        otherwise: section.word("otherwise", &otherwise)?.unwrap_or(Otherwise::Refuse),
    };
    section.set_ms("timeout_ms", &mut acks.timeout)?;
    section.end()?;
    Ok(Some(acks).filter(|acks| acks.replicas > 0))
}

fn read_limits(mut section: Section<'_>, config: &mut Config) -> PyResult<()> {
    let limits = &mut config.limits;
    section.set("connections", &mut limits.connections)?;
    section.set("connections_per_address", &mut limits.connections_per_address)?;
    section.set("request_bytes", &mut limits.request_bytes)?;
    section.set("unauthenticated_request_bytes", &mut limits.unauthenticated_request_bytes)?;
    section.set("total_input_bytes", &mut limits.total_input_bytes)?;
    section.set("client_output_bytes", &mut limits.client_output_bytes)?;
    section.set("total_output_bytes", &mut limits.total_output_bytes)?;
    section.set_ms("handshake_ms", &mut limits.handshake)?;
    section.set_ms("idle_ms", &mut limits.idle)?;
    section.set_ms("partial_ms", &mut limits.partial)?;
    section.end()
}

fn read_upstream(mut section: Section<'_>, config: &mut Config) -> PyResult<()> {
    let upstream = &mut config.upstream;
    section.set("shared_per_worker", &mut upstream.shared_per_worker)?;
    section.set_ms("connect_ms", &mut upstream.connect)?;
    section.set_ms("silent_ms", &mut upstream.silent)?;
    let username: Option<String> = section.take("username")?;
    let password: Option<String> = section.take("password")?;
    upstream.unblocker = match (username, password) {
        (None, None) => None,
        (Some(_), None) => {
            return Err(PyValueError::new_err("upstream.username: needs upstream.password too"));
        }
        (username, Some(password)) => {
            let username = username.unwrap_or_else(|| "default".to_owned());
            Some((username, Secret(Zeroizing::new(password))))
        }
    };
    section.end()
}
