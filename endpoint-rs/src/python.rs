//! The Python face: a [`Plane`] into methods.
//!
//! Types and rules of what Python sees stand in `python/everfly_endpoint/__init__.pyi`. Whatever
//! waits releases the GIL.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::config::Config;
use crate::gate::State;
use crate::plane::Plane;
use crate::python_config::read_config;
use crate::stats::{self, BOUNDS_US};

/// The data plane, as `__init__.pyi` describes it.
#[pyclass(name = "Plane", module = "everfly_endpoint")]
struct PyPlane {
    config: Config,
    plane: Mutex<Option<Arc<Plane>>>,
}

impl PyPlane {
    fn running(&self) -> PyResult<Arc<Plane>> {
        let plane = self.plane.lock().unwrap_or_else(PoisonError::into_inner);
        plane.clone().ok_or_else(|| PyRuntimeError::new_err("the plane has not been started"))
    }
}

#[pymethods]
impl PyPlane {
    #[new]
    fn new(config: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { config: read_config(config)?, plane: Mutex::new(None) })
    }

    fn start(&self, py: Python<'_>) -> PyResult<()> {
        let mut plane = self.plane.lock().unwrap_or_else(PoisonError::into_inner);
        if plane.is_some() {
            return Err(PyRuntimeError::new_err("the plane was started already"));
        }
        let config = self.config.clone();
        *plane = Some(Arc::new(py.detach(|| Plane::start(config)).map_err(os_error)?));
        Ok(())
    }

    #[pyo3(signature = (grace_s = 0.0))]
    fn stop(&self, py: Python<'_>, grace_s: f64) -> PyResult<()> {
        let plane = self.plane.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let grace = Duration::try_from_secs_f64(grace_s)
            .map_err(|_| PyValueError::new_err("grace_s: must be 0 or more"))?;
        if let Some(plane) = plane {
            py.detach(|| plane.stop(grace));
        }
        Ok(())
    }

    fn set_primary(&self, py: Python<'_>, host: &str, port: u16, epoch: u64) -> PyResult<bool> {
        let plane = self.running()?;
        py.detach(|| plane.set_primary(host, port, epoch)).map_err(os_error)
    }

    fn no_primary(&self, py: Python<'_>, reason: &str) -> PyResult<()> {
        let plane = self.running()?;
        py.detach(|| plane.no_primary(reason));
        Ok(())
    }

    fn hold(&self, py: Python<'_>, reason: &str, budget_ms: u32) -> PyResult<u64> {
        let plane = self.running()?;
        Ok(py.detach(|| plane.hold(reason, Duration::from_millis(u64::from(budget_ms)))))
    }

    #[pyo3(signature = (token = None))]
    fn release(&self, py: Python<'_>, token: Option<u64>) -> PyResult<bool> {
        let plane = self.running()?;
        Ok(py.detach(|| plane.release(token)))
    }

    fn drained(&self, py: Python<'_>, timeout_ms: u32) -> PyResult<bool> {
        let plane = self.running()?;
        Ok(py.detach(|| plane.drained(Duration::from_millis(u64::from(timeout_ms)))))
    }

    #[expect(clippy::needless_pass_by_value, reason = "a sequence of Python is made one anew")]
    fn set_replicas(
        &self,
        py: Python<'_>,
        replicas: Vec<(String, u16, String, u64)>,
    ) -> PyResult<()> {
        let plane = self.running()?;
        py.detach(|| plane.set_replicas(&replicas)).map_err(os_error)
    }

    fn reload_tls(&self, py: Python<'_>) -> PyResult<()> {
        let plane = self.running()?;
        py.detach(|| plane.reload_tls()).map_err(os_error)
    }

    fn stop_accepting(&self) -> PyResult<()> {
        self.running()?.stop_accepting();
        Ok(())
    }

    fn close_idle(&self) -> PyResult<usize> {
        Ok(self.running()?.close_idle())
    }

    fn listener_fds(&self) -> PyResult<Vec<(String, i32)>> {
        Ok(self.running()?.listener_fds())
    }

    fn addresses(&self) -> PyResult<Vec<(String, String)>> {
        Ok(self.running()?.addresses().to_vec())
    }

    fn connections(&self) -> PyResult<usize> {
        Ok(self.running()?.shared().connections())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let plane = self.running()?;
        snapshot(py, &plane)
    }

    fn notices<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for notice in self.running()?.shared().notices.take() {
            let each = PyDict::new(py);
            each.set_item("kind", notice.kind.word())?;
            each.set_item("text", notice.text)?;
            each.set_item("address", notice.address)?;
            each.set_item("count", notice.count)?;
            each.set_item("at_ms", notice.at_ms)?;
            list.append(each)?;
        }
        Ok(list)
    }

    fn notice_fd(&self) -> PyResult<i32> {
        Ok(self.running()?.shared().notices.descriptor())
    }
}

fn snapshot<'py>(py: Python<'py>, plane: &Plane) -> PyResult<Bound<'py, PyDict>> {
    let shared = plane.shared();
    let view = shared.gate.view();
    let holds = shared.holds();
    let age = holds.since.map_or(Duration::ZERO, |since| since.elapsed());
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let dict = PyDict::new(py);
    let state = match view.state {
        _ if plane.is_stopped() => "stopped",
        State::Open => "open",
        State::Holding => "holding",
        State::NoPrimary => "no-primary",
    };
    dict.set_item("state", state)?;
    dict.set_item("primary", view.primary.map(|address| shared.label_of(address)))?;
    dict.set_item("epoch", view.epoch)?;
    let reason = Some(view.reason.as_ref()).filter(|reason| !reason.is_empty());
    dict.set_item("hold_reason", reason)?;
    dict.set_item("hold_age_ms", ms(age))?;
    dict.set_item("hold_ms_total", ms(holds.total + age))?;
    dict.set_item("holds", holds.count)?;
    dict.set_item("longest_hold_ms", ms(holds.longest.max(age)))?;
    dict.set_item("connections", shared.connections())?;
    let by_listener = PyDict::new(py);
    for (listener, count) in shared.config.listeners.iter().zip(&shared.by_listener) {
        by_listener.set_item(&listener.name, count.load(std::sync::atomic::Ordering::Relaxed))?;
    }
    dict.set_item("connections_by_listener", by_listener)?;
    let workers = shared.stations.iter().map(|station| &station.stats);
    for (name, total) in stats::totals(workers.clone()) {
        dict.set_item(name, total)?;
    }
    dict.set_item("in_flight", shared.gate.in_flight())?;
    dict.set_item("workers", shared.stations.len())?;
    let sum = stats::latency(workers);
    let latency = PyDict::new(py);
    latency.set_item("bounds_us", BOUNDS_US.to_vec())?;
    latency.set_item("counts", sum.counts)?;
    latency.set_item("sum_us", sum.sum_us)?;
    dict.set_item("latency", latency)?;
    Ok(dict)
}

fn os_error(error: std::io::Error) -> PyErr {
    match error.raw_os_error() {
        // The system's own words become the subclass of OSError that belongs to the number.
        Some(_) => error.into(),
        None => PyOSError::new_err(error.to_string()),
    }
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<PyPlane>()
}
