console.log("bollard")
