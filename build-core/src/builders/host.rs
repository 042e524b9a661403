/// The production project, where EC2 machines fetch their containers.
const IMAGES: &str = "gcr.io/symbolic-datum-552";

/// How a machine of a kind is obtained.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Host {
    /// Its unique name.
    pub name: String,
    /// Image of a virtual machine.
    pub vm_image: String,
    /// Image of a container, below the project's registry.
    pub container_image: String,
    /// The machine connects to us.
    pub reverse: bool,
    /// The machine is on EC2.
    pub ec2: bool,
    /// Kind of the virtual machine; see [`Host::machine_type`].
    pub machine_type: String,
    /// A spinning disk.
    pub regular_disk: bool,
    /// The oldest processor that will do.
    pub min_cpu_platform: String,
    /// How many machines should be connected; 0 when that is not watched.
    pub expect: u32,
    /// Each connection of a reverse machine is a fresh environment.
    pub hermetic_reverse: bool,
    /// The container needs virtualization.
    pub nested_virt: bool,
    /// Image of the virtual machine that starts the container.
    pub konlet_vm_image: String,
    /// `K=V` for every build.
    pub env: Vec<String>,
    /// Where the buildlet program is; `$BUCKET` is the environment's bucket.
    pub buildlet_url: String,
    /// Where the first Go toolchain is; empty for none.
    pub bootstrap_url: String,
    /// Who logs in by ssh; empty: nobody. `$USER` is the server's user.
    pub ssh_user: String,
    /// Mail address of its owner.
    pub owner: String,
    /// GitHub user of its owner.
    pub owner_github: String,
    /// For people.
    pub notes: String,
}

/// The kinds of hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Connects to us.
    Reverse,
    /// A virtual machine.
    Vm,
    /// A container.
    Container,
}

impl Host {
    /// What kind it is. A virtual machine on EC2 that has a container image is a container.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match () {
            () if self.reverse => Kind::Reverse,
            () if self.is_vm() => Kind::Vm,
            () => Kind::Container,
        }
    }

    /// Whether it is a virtual machine without a container.
    #[must_use]
    pub fn is_vm(&self) -> bool {
        let in_container = self.ec2 && self.is_container();
        !self.vm_image.is_empty() && !in_container
    }

    /// Whether it is a container.
    #[must_use]
    pub fn is_container(&self) -> bool {
        !self.container_image.is_empty()
    }

    /// Whether each build starts in a fresh environment.
    #[must_use]
    pub fn is_hermetic(&self) -> bool {
        !self.reverse || self.hermetic_reverse
    }

    /// The kind of the virtual machine.
    #[must_use]
    pub fn machine_type(&self) -> &str {
        match () {
            () if !self.machine_type.is_empty() => &self.machine_type,
            () if self.is_container() => "n1-standard-4",
            () => "n1-highcpu-2",
        }
    }

    /// Processors by the name of the machine type; 0 when it does not say.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        let count = self.machine_type().rsplit('-').next();
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// What pages call the pool of such machines.
    #[must_use]
    pub fn pool_name(&self) -> &'static str {
        match () {
            () if self.reverse => "Reverse (dedicated machine/VM)",
            () if self.ec2 => "EC2 VM Container",
            () if self.is_vm() => "GCE VM",
            () => "Container",
        }
    }

    /// The image of the machine that runs the container; empty for the provider's own.
    #[must_use]
    pub fn container_vm_image(&self) -> String {
        match () {
            () if !self.konlet_vm_image.is_empty() => self.konlet_vm_image.clone(),
            () if self.nested_virt => "debian-stretch-vmx".to_owned(),
            () if self.ec2 && self.is_container() => format!("{IMAGES}/{}", self.container_image),
            () => String::new(),
        }
    }

    /// Where the buildlet program is.
    #[must_use]
    pub fn buildlet_url(&self, bucket: &str) -> String {
        self.buildlet_url.replacen("$BUCKET", bucket, 1)
    }

    /// Where the first Go toolchain is; empty for none.
    #[must_use]
    pub fn bootstrap_url(&self, bucket: &str) -> String {
        self.bootstrap_url.replacen("$BUCKET", bucket, 1)
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut say = |text: &str| found.push(format!("host {:?}: {text}", self.name));
        if self.name.is_empty() {
            say("it has no name");
        }
        let kinds = [
            !self.vm_image.is_empty() && !self.ec2,
            self.is_container(),
            self.reverse,
        ];
        match kinds.iter().filter(|kind| **kind).count() {
            1 => {}
            // A virtual machine on EC2 without a container is one kind as well.
            0 if self.ec2 && !self.vm_image.is_empty() => {}
            0 => say("it has none of vm_image, container_image and reverse"),
            _ => say("it has more than one of vm_image, container_image and reverse"),
        }
        if !self.reverse && self.buildlet_url.is_empty() {
            say("buildlet_url is missing");
        }
        found
    }
}
